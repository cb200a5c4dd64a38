//! JSON written byte for byte as Go's `encoding/json` writes it.
//!
//! Readers do not care, but people and tools that compare files do: a file should not change when another program rewrites it.
//! Differences from plain serde_json: `<`, `>`, `&`, U+2028 and U+2029 are written as `\u` escapes, and floating point numbers
//! have Go's form (`1` and not `1.0`, `1e+21` and not `1e21`).

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{
    Value,
    ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer},
};

/// Writes a document without any white space and with sorted keys, as Go writes a map.
pub fn to_vec(value: &Value) -> Vec<u8> {
    write(value, CompactFormatter)
}

/// Writes a document with an indentation of two spaces and no newline at the end, as `json.MarshalIndent(v, "", "  ")` does.
pub fn to_pretty_vec(value: &Value) -> Vec<u8> {
    write(value, PrettyFormatter::new())
}

fn write<F: Formatter>(value: &Value, layout: F) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    // Cannot fail: keys of a `Value` are strings, its numbers are finite, and a vector takes every byte.
    let written = value.serialize(&mut Serializer::with_formatter(
        &mut bytes,
        GoFormatter { layout },
    ));
    debug_assert!(written.is_ok());
    bytes
}

/// Go's way with strings and numbers on top of a layout.
struct GoFormatter<F> {
    layout: F,
}

/// Passes the calls that lay out arrays and objects on to the inner formatter.
macro_rules! pass_on {
    ($($method:ident($($arg:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method<W: ?Sized + Write>(&mut self, writer: &mut W, $($arg: $type),*) -> io::Result<()> {
            self.layout.$method(writer, $($arg),*)
        }
    )*};
}

impl<F: Formatter> Formatter for GoFormatter<F> {
    pass_on! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest
            .char_indices()
            .find(|(_, c)| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'))
        {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let magnitude = value.abs();
        if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
            return write!(writer, "{value}");
        }
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                write!(writer, "{digits}e+{exponent}")
            }
            _ => writer.write_all(text.as_bytes()),
        }
    }
}
