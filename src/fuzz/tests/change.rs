//! Changes of known inputs, as fuzzers make them; the same ones in every run.

/// An endless row of changed inputs.
pub(super) struct Changes<'a> {
    inputs: &'a [Vec<u8>],
    state: u64,
}

impl<'a> Changes<'a> {
    /// Of one or more inputs.
    pub(super) const fn new(inputs: &'a [Vec<u8>]) -> Self {
        Self { inputs, state: 1 }
    }

    /// An input, changed in up to four places.
    pub(super) fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.input().to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes);
        }
        bytes.truncate(super::MOST_INPUT);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let end = at + self.below((bytes.len() - at).min(32) + 1);
        match self.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.byte(),
            2 => bytes.insert(at, self.byte()),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            5 => bytes.truncate(at),
            6 => {
                let other = self.input();
                let from = self.below(other.len() + 1);
                let to = from + self.below((other.len() - from).min(32) + 1);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            7 => drop(bytes.splice(at..end, self.telling().iter().copied())),
            _ => {}
        }
    }

    fn input(&mut self) -> &'a [u8] {
        let at = self.below(self.inputs.len());
        &self.inputs[at]
    }

    fn telling(&mut self) -> &'static [u8] {
        TELLING[self.below(TELLING.len())]
    }

    fn byte(&mut self) -> u8 {
        self.random().to_le_bytes()[0]
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap();
        usize::try_from(self.random() % bound).unwrap()
    }

    /// SplitMix64.
    const fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Bytes that parsers trip over.
const TELLING: [&[u8]; 20] = [
    b"",
    b"\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"\\",
    b",",
    b"%2f",
    b"%25",
    b"/../",
    b"\xc0\xaf",
    b"\xef\xbb\xbf",
    b"null",
    b"1e309",
    b"-0",
    b"170141183460469231731687303715884105728",
    b"Payment ",
];
