//! Splits the body of a LIST answer into items while it arrives, without building a tree.

use velero_core::RawItem;

/// An element of a list that is no object with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadElement {
    /// Position in its page, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What was made of one LIST body.
#[derive(Debug, Default)]
pub(crate) struct ListBody {
    pub(crate) items: Vec<RawItem>,
    pub(crate) bad: Vec<BadElement>,
    pub(crate) continue_token: Option<String>,
    pub(crate) resource_version: String,
    pub(crate) remaining: Option<u64>,
    pub(crate) bytes: usize,
}

/// Where the splitter is, seen from the top-level object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Outside of `items`.
    Top,
    /// Between the elements of `items`.
    Items,
    /// Inside an element.
    Element,
}

/// A splitter that is fed piece by piece.
///
/// It follows strings and brackets only. Elements are parsed by [`RawItem::from_list_bytes`] as soon as they are whole,
/// in place where they lie in one piece; what lies around them is kept (a few hundred bytes) and parsed at the end.
#[derive(Debug)]
pub(crate) struct Splitter {
    api_version: String,
    kind: String,
    place: Place,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The top-level object without the elements of `items`.
    frame: Vec<u8>,
    /// The top-level key or other string read last, and where it began in `frame`.
    string_start: usize,
    last_string: (usize, usize),
    /// The beginning of an element that goes on in the next piece.
    element: Vec<u8>,
    index: usize,
    done: bool,
    body: ListBody,
}

/// Bytes of room that are kept for elements that come in several pieces.
const KEPT_ROOM: usize = 64 << 10;

impl Splitter {
    /// Elements without a type get `api_version` and `kind`.
    pub(crate) fn new(api_version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            api_version: api_version.into(),
            kind: kind.into(),
            place: Place::Top,
            depth: 0,
            in_string: false,
            escaped: false,
            frame: Vec::with_capacity(256),
            string_start: 0,
            last_string: (0, 0),
            element: Vec::new(),
            index: 0,
            done: false,
            body: ListBody::default(),
        }
    }

    /// Bytes taken so far.
    pub(crate) fn bytes(&self) -> usize {
        self.body.bytes
    }

    /// Elements that are whole so far.
    pub(crate) fn elements(&self) -> usize {
        self.index
    }

    /// Takes the next piece.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.body.bytes += chunk.len();
        let mut rest = chunk;
        while !rest.is_empty() {
            let taken = match self.place {
                Place::Element => self.inside_element(rest),
                Place::Items => self.between_elements(rest[0]),
                Place::Top if self.in_string => self.outer_string(rest),
                Place::Top => self.outside(rest[0]),
            };
            rest = &rest[taken..];
        }
    }

    /// How many bytes go on with a string, its closing quote among them.
    fn rest_of_string(&mut self, bytes: &[u8]) -> usize {
        let mut end = usize::from(std::mem::take(&mut self.escaped));
        while let Some(at) = memchr::memchr2(b'"', b'\\', &bytes[end..]) {
            end += at + 1;
            if bytes[end - 1] == b'"' {
                self.in_string = false;
                return end;
            }
            if end == bytes.len() {
                self.escaped = true;
                return end;
            }
            end += 1;
        }
        bytes.len()
    }

    fn outer_string(&mut self, bytes: &[u8]) -> usize {
        let end = self.rest_of_string(bytes);
        self.frame.extend_from_slice(&bytes[..end]);
        if !self.in_string {
            self.last_string = (self.string_start, self.frame.len());
        }
        end
    }

    /// Takes bytes of an element, to its end if it is among them; gives how many.
    fn inside_element(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string {
                at += self.rest_of_string(&bytes[at..]);
                continue;
            }
            match bytes[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                // A scalar element ends where the list goes on.
                b',' | b']' if self.depth == 2 => {
                    self.end_element(&bytes[..at]);
                    return at;
                }
                b'}' | b']' if self.depth > 2 => {
                    self.depth -= 1;
                    if self.depth == 2 {
                        self.end_element(&bytes[..=at]);
                        return at + 1;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        self.element.extend_from_slice(bytes);
        at
    }

    fn between_elements(&mut self, byte: u8) -> usize {
        match byte {
            b']' => {
                self.frame.push(byte);
                self.depth = self.depth.saturating_sub(1);
                self.place = Place::Top;
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => {
                self.place = Place::Element;
                return 0;
            }
        }
        1
    }

    fn outside(&mut self, byte: u8) -> usize {
        match byte {
            b'"' => {
                self.string_start = self.frame.len();
                self.in_string = true;
            }
            b'[' if self.depth == 1
                && self.frame[self.last_string.0..self.last_string.1] == *b"\"items\"" =>
            {
                self.depth += 1;
                self.place = Place::Items;
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.done = self.depth == 0;
            }
            _ => {}
        }
        self.frame.push(byte);
        1
    }

    /// Parses an element that ends with `last`.
    fn end_element(&mut self, last: &[u8]) {
        self.place = Place::Items;
        let whole = if self.element.is_empty() {
            last
        } else {
            self.element.extend_from_slice(last);
            &self.element
        };
        match RawItem::from_list_bytes(whole, &self.api_version, &self.kind) {
            Ok(item) => self.body.items.push(item),
            Err(error) => self.body.bad.push(BadElement {
                index: self.index,
                reason: velero_core::result::chain(&error),
            }),
        }
        self.index += 1;
        self.element.clear();
        self.element.shrink_to(KEPT_ROOM);
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When it was cut short or is no list.
    pub(crate) fn finish(mut self) -> Result<ListBody, String> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Frame {
            #[serde(default)]
            metadata: Option<Meta>,
            // Its elements were taken out, `[]` or `null` is left.
            items: Option<Vec<serde::de::IgnoredAny>>,
        }
        #[derive(serde::Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Meta {
            resource_version: Option<String>,
            #[serde(rename = "continue")]
            continue_token: Option<String>,
            remaining_item_count: Option<u64>,
        }
        if !self.done {
            return Err(format!("it is cut short after {} bytes", self.body.bytes));
        }
        let frame: Frame =
            serde_json::from_slice(&self.frame).map_err(|e| format!("it is no list: {e}"))?;
        if frame.items.is_none() && self.index > 0 {
            return Err("it is no list: its items are no array".to_owned());
        }
        let meta = frame.metadata.unwrap_or_default();
        self.body.continue_token = meta.continue_token.filter(|t| !t.is_empty());
        self.body.resource_version = meta.resource_version.unwrap_or_default();
        self.body.remaining = meta.remaining_item_count;
        Ok(self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, piece: usize) -> Result<ListBody, String> {
        let mut splitter = Splitter::new("v1", "ConfigMap");
        for chunk in text.as_bytes().chunks(piece) {
            splitter.push(chunk);
        }
        splitter.finish()
    }

    #[test]
    fn any_cut_into_pieces_gives_the_same_items() {
        let text = r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"t\"]}","remainingItemCount":3},
            "items": [ {"metadata":{"name":"a","labels":{"items":"[x]"}},"data":{"k":"]}\\\"{["}} ,
            {"metadata":{"name":"b"},"list":[[1,2],{"a":[]}],"u":"\u00e9"}, 5, "text,]", null, {"metadata":{}}] }"#;
        for piece in [1, 2, 3, 7, 64, 10_000] {
            let body = split(text, piece).unwrap();
            let names: Vec<_> = body.items.iter().map(|i| i.head().name.as_str()).collect();
            assert_eq!(names, ["a", "b"], "{piece}");
            assert!(
                body.items[0].json().starts_with(
                    br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a""#
                )
            );
            assert_eq!(
                body.bad.iter().map(|b| b.index).collect::<Vec<_>>(),
                [2, 3, 4, 5],
                "{:?}",
                body.bad
            );
            assert_eq!(
                (
                    body.continue_token.as_deref(),
                    body.resource_version.as_str(),
                    body.remaining
                ),
                (Some("t\"]}"), "7", Some(3))
            );
            assert_eq!(body.bytes, text.len());
        }
    }

    #[test]
    fn nested_items_are_no_list_items() {
        let text = r#"{"metadata":{"items":[1,2]},"items":[{"metadata":{"name":"a"},"items":[{"x":1}]}],"other":{"items":[3]}}"#;
        let body = split(text, 5).unwrap();
        assert_eq!((body.items.len(), body.bad.len()), (1, 0));
    }

    #[test]
    fn empty_lists() {
        for text in [
            r#"{"items":[]}"#,
            r#"{"items":null,"metadata":{"resourceVersion":"1"}}"#,
            r#"{"metadata":{}}"#,
        ] {
            assert!(split(text, 4).unwrap().items.is_empty(), "{text}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let text = r#"{"items":[{"metadata":{"name":"a"}}],"metadata":{}}"#;
        for end in 0..text.len() {
            assert!(split(&text[..end], 8).is_err(), "{end}");
        }
        for bad in [
            "",
            "[]",
            "nonsense",
            r#"{"items":5}"#,
            r#"{"items":{"a":1}}"#,
        ] {
            assert!(split(bad, 3).is_err(), "{bad}");
        }
    }

    #[test]
    fn text_that_is_no_text_is_a_bad_element() {
        let mut body =
            br#"{"items":[{"metadata":{"name":"a"},"data":{"x":"?"}},{"metadata":{"name":"b"}}]}"#
                .to_vec();
        let at = body.iter().position(|b| *b == b'?').unwrap();
        body[at] = 0xff;
        for piece in [1, 7, 1000] {
            let mut splitter = Splitter::new("v1", "ConfigMap");
            for chunk in body.chunks(piece) {
                splitter.push(chunk);
            }
            assert_eq!(splitter.elements(), 2);
            let body = splitter.finish().unwrap();
            assert_eq!(
                (body.items.len(), body.bad.len(), body.bad[0].index),
                (1, 1, 0)
            );
        }
    }

    #[test]
    fn hostile_brackets_do_no_harm() {
        for bad in [
            "]]]]",
            "}}{{",
            r#"{"items":[}]}"#,
            r#"{"items":[]]]}"#,
            "\"\\",
        ] {
            let _ = split(bad, 1);
        }
    }
}
