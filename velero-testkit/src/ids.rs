//! Reproducible identifiers: uids and name suffixes.

/// Letters and digits that generated names are made of, the server's own choice (no vowels).
const SUFFIX: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A stream of identifiers that depends on the seed alone (splitmix64).
#[derive(Debug)]
pub(crate) struct Ids {
    state: u64,
}

impl Ids {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A uid in the form of a random UUID.
    pub(crate) fn uid(&mut self) -> String {
        let value = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(value.to_be_bytes())
            .into_uuid()
            .to_string()
    }

    /// Five characters for `metadata.generateName`.
    pub(crate) fn suffix(&mut self) -> String {
        let mut value = self.next();
        let mut text = String::with_capacity(5);
        for _ in 0..5 {
            let index = usize::try_from(value % 27).unwrap_or(0);
            text.push(char::from(SUFFIX[index]));
            value /= 27;
        }
        text
    }
}
