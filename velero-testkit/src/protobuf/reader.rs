//! The pieces of a protobuf message: tags, numbers, byte strings. Errors are worded as the generated Go code words them.

/// Why a body is no message of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("empty data")]
    NoData,
    #[error("empty body")]
    NoBody,
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Prefix,
    #[error("unexpected EOF")]
    Short,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: negative length found during unmarshaling")]
    NegativeLength,
    #[error("proto: unexpected end of group")]
    GroupEnd,
    #[error("proto: {message}: wiretype end group for non-group")]
    NoGroup { message: String },
    #[error("proto: {message}: illegal tag {number} (wire type {tag})")]
    IllegalTag {
        message: String,
        number: i32,
        tag: u64,
    },
    #[error("proto: illegal wireType {0}")]
    IllegalWire(u8),
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WrongWire { wire: u8, field: String },
    #[error("{0}")]
    Value(String),
    #[error("messages nested more than {0} deep")]
    Deep(usize),
}

/// How the value of a field is sent.
pub(super) mod wire {
    pub(crate) const VARINT: u8 = 0;
    pub(crate) const FIXED64: u8 = 1;
    pub(crate) const BYTES: u8 = 2;
    pub(crate) const GROUP: u8 = 3;
    pub(crate) const GROUP_END: u8 = 4;
    pub(crate) const FIXED32: u8 = 5;
}

/// A field's number and the form of the value that follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    pub(super) number: u32,
    pub(super) wire: u8,
}

impl Tag {
    /// Refuses a value in another form than the field's.
    pub(super) fn want(self, wire: u8, field: &str) -> Result<(), Malformed> {
        if self.wire == wire {
            return Ok(());
        }
        Err(Malformed::WrongWire {
            wire: self.wire,
            field: go_name(field),
        })
    }
}

/// The Go name of a field, which errors carry.
fn go_name(json: &str) -> String {
    if json == "metadata" {
        return "ObjectMeta".to_owned();
    }
    let mut letters = json.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Reads a message from its start.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Overflow)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A length and as many bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        if i64::try_from(length).is_err() {
            return Err(Malformed::NegativeLength);
        }
        self.take(usize::try_from(length).map_err(|_| Malformed::Short)?)
    }

    pub(super) fn double(&mut self) -> Result<f64, Malformed> {
        let mut bits = [0; 8];
        bits.copy_from_slice(self.take(8)?);
        Ok(f64::from_le_bytes(bits))
    }

    /// The next field of the message called `message`; nothing at its end.
    pub(super) fn tag(&mut self, message: &str) -> Result<Option<Tag>, Malformed> {
        if self.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let message = || short_name(message);
        let wire = low_bits(tag);
        if wire == wire::GROUP_END {
            return Err(Malformed::NoGroup { message: message() });
        }
        // As in Go, higher bits of a number are lost.
        #[allow(clippy::cast_possible_truncation)]
        let number = (tag >> 3) as i32;
        match u32::try_from(number) {
            Ok(number) if number > 0 => Ok(Some(Tag { number, wire })),
            _ => Err(Malformed::IllegalTag {
                message: message(),
                number,
                tag,
            }),
        }
    }

    /// Passes over the value of an unknown field.
    pub(super) fn skip(&mut self, tag: Tag) -> Result<(), Malformed> {
        let mut wire = tag.wire;
        let mut groups = 0usize;
        loop {
            match wire {
                wire::VARINT => {
                    self.varint()?;
                }
                wire::FIXED64 => {
                    self.take(8)?;
                }
                wire::BYTES => {
                    self.bytes()?;
                }
                wire::GROUP => groups += 1,
                wire::GROUP_END => groups = groups.checked_sub(1).ok_or(Malformed::GroupEnd)?,
                wire::FIXED32 => {
                    self.take(4)?;
                }
                other => return Err(Malformed::IllegalWire(other)),
            }
            if groups == 0 {
                return Ok(());
            }
            wire = low_bits(self.varint()?);
        }
    }
}

/// The wire type in a tag.
fn low_bits(tag: u64) -> u8 {
    #[allow(clippy::cast_possible_truncation)]
    let wire = (tag & 7) as u8;
    wire
}

fn short_name(name: &str) -> String {
    name.rsplit_once('.').map_or(name, |(_, n)| n).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_or_overflow() {
        let read = |data: &[u8]| Reader::new(data).varint();
        assert_eq!(read(&[0xAC, 0x02]), Ok(300));
        assert_eq!(read(&[0x80]), Err(Malformed::Short));
        assert_eq!(read(&[0x80; 10]), Err(Malformed::Overflow));
        let mut most = [0xFF; 10];
        most[9] = 1;
        assert_eq!(read(&most), Ok(u64::MAX));
    }

    #[test]
    fn lengths_are_checked() {
        let read = |data: &[u8]| Reader::new(data).bytes().map(<[u8]>::to_vec);
        assert_eq!(read(&[2, 7, 8]), Ok(vec![7, 8]));
        assert_eq!(read(&[3, 7, 8]), Err(Malformed::Short));
        let mut negative = [0xFF; 10];
        negative[9] = 1;
        assert_eq!(read(&negative), Err(Malformed::NegativeLength));
    }

    #[test]
    fn groups_are_passed_over() {
        // Field 9: a group that holds a varint and another group; then field 1.
        let data = [0x4B, 0x08, 0x05, 0x53, 0x54, 0x4C, 0x08, 0x07];
        let mut reader = Reader::new(&data);
        let tag = reader.tag("a.v1.B").unwrap().unwrap();
        reader.skip(tag).unwrap();
        assert_eq!(reader.tag("a.v1.B").unwrap().unwrap().number, 1);
        assert_eq!(reader.varint(), Ok(7));
        let mut open = Reader::new(&[0x4B, 0x08]);
        let tag = open.tag("a.v1.B").unwrap().unwrap();
        assert_eq!(open.skip(tag), Err(Malformed::Short));
    }

    #[test]
    fn tags_are_checked() {
        let read = |data: &[u8]| Reader::new(data).tag("core.v1.Pod").map(|t| t.is_some());
        assert_eq!(read(&[]), Ok(false));
        assert_eq!(
            read(&[0x0C]).unwrap_err().to_string(),
            "proto: Pod: wiretype end group for non-group"
        );
        assert_eq!(
            read(&[0x02]).unwrap_err().to_string(),
            "proto: Pod: illegal tag 0 (wire type 2)"
        );
    }
}
