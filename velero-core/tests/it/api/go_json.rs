use serde_json::{Value, json};
use velero_core::{to_go_json, to_go_json_pretty};

fn compact(value: &Value) -> String {
    String::from_utf8(to_go_json(value)).unwrap()
}

#[test]
fn strings_are_escaped_as_go_does() {
    for (text, expected) in [
        ("a<b>&c", r#""a\u003cb\u003e\u0026c""#),
        ("\u{2028}x\u{2029}", r#""\u2028x\u2029""#),
        ("grüße\t\"\\\n", r#""grüße\t\"\\\n""#),
        ("\u{8}\u{c}\r\u{1}\u{7f}", "\"\\b\\f\\r\\u0001\u{7f}\""),
        ("", r#""""#),
    ] {
        assert_eq!(compact(&json!(text)), expected);
    }
    assert_eq!(compact(&json!({"<k>": 1})), r#"{"\u003ck\u003e":1}"#);
}

#[test]
fn numbers_have_go_form() {
    for (text, expected) in [
        ("1.0", "1"),
        ("-0.0", "-0"),
        ("1.5", "1.5"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("1.25e-7", "1.25e-7"),
        ("0.000001", "0.000001"),
        ("-2.5e300", "-2.5e+300"),
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
    ] {
        assert_eq!(
            compact(&serde_json::from_str(text).unwrap()),
            expected,
            "{text}"
        );
    }
}

#[test]
fn keys_are_sorted_and_layout_is_go_indent() {
    let value = json!({"b": [], "a": {}, "c": [1, {"z": null}]});
    assert_eq!(compact(&value), r#"{"a":{},"b":[],"c":[1,{"z":null}]}"#);
    let pretty = String::from_utf8(to_go_json_pretty(&value)).unwrap();
    assert_eq!(
        pretty,
        "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1,\n    {\n      \"z\": null\n    }\n  ]\n}"
    );
}
