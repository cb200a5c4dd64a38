//! Names that do not fit into the header of their entry, and come in an entry of their own in front of it.

use std::io::Read;

use super::reader::broken;
use crate::Error;

/// The most bytes of an entry that describes the next one. Names of Kubernetes objects are far shorter.
const MAX_BYTES: u64 = 64 << 10;

/// What entries in front of one say of it.
#[derive(Debug, Default)]
pub(super) struct LongNames {
    /// By an entry of type `L`, as GNU tar writes it.
    gnu: Option<Vec<u8>>,
    /// By an entry of type `x`, as Go writes it.
    pax: Option<Pax>,
}

/// What of a header of type `x` counts here.
#[derive(Debug, Default)]
struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl LongNames {
    /// Whether something was described and has not come.
    pub(super) fn are_left(&self) -> bool {
        self.gnu.is_some() || self.pax.is_some()
    }

    /// Takes in an entry that describes the next one; `false` for one that describes none.
    ///
    /// # Errors
    /// When it is larger than such an entry can be, or one of its kind has been there.
    pub(super) fn take_in<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<bool, Error> {
        let twice = || Error::archive("describes an entry twice");
        match entry.header().entry_type() {
            tar::EntryType::GNULongName => {
                let mut name = read(entry)?;
                if name.last() == Some(&0) {
                    name.pop();
                }
                match self.gnu.replace(name) {
                    Some(_) => Err(twice()),
                    None => Ok(true),
                }
            }
            tar::EntryType::XHeader => match self.pax.replace(Pax::parse(&read(entry)?)?) {
                Some(_) => Err(twice()),
                None => Ok(true),
            },
            _ => Ok(false),
        }
    }

    /// The name of the entry that was described, if it was.
    ///
    /// # Errors
    /// When the name is not utf-8, or the size of the entry is told in two ways.
    pub(super) fn name_of<R: Read>(&mut self, entry: &tar::Entry<'_, R>) -> Result<String, Error> {
        let (gnu, pax) = (self.gnu.take(), self.pax.take().unwrap_or_default());
        let name = match pax.path.or(gnu) {
            Some(name) => name,
            None => entry.path_bytes().into_owned(),
        };
        let name = String::from_utf8(name)
            .map_err(|_| Error::archive("has an entry whose name is not utf-8"))?;
        match pax.size {
            Some(size) if size != entry.size() => Err(Error::archive(format!(
                "has an entry {name:?} of {} bytes that is said to have {size}",
                entry.size()
            ))),
            _ => Ok(name),
        }
    }
}

impl Pax {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut found = Self::default();
        for extension in tar::PaxExtensions::new(bytes) {
            let extension = extension.map_err(broken)?;
            match extension.key_bytes() {
                b"path" => found.path = Some(extension.value_bytes().to_vec()),
                b"size" => {
                    let size = extension.value().ok().and_then(|text| text.parse().ok());
                    let bad = || Error::archive("has a header whose size is no number");
                    found.size = Some(size.ok_or_else(bad)?);
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn read<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>, Error> {
    let size = entry.size();
    if size > MAX_BYTES {
        return Err(Error::archive(format!(
            "has a name or header of {size} bytes; at most {MAX_BYTES} are read"
        )));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 != size {
        return Err(Error::archive("is cut short inside a name"));
    }
    Ok(bytes)
}
