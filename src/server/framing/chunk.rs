//! A chunked body: sizes, extensions and trailers in the one form that all readers agree on.
//!
//! Source: RFC 9112 section 7.1. Blanks around a size, which some readers take and some do not, are refused.

use super::{Bounds, head::is_token};

/// A chunked body as it comes.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// As many bytes the extensions of all chunks to come may have.
    extensions: usize,
    /// As many bytes the trailers to come may have, with their ends of lines, and as many there may be.
    trailers: usize,
    fields: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    End,
}

impl Chunks {
    /// A body whose trailers are bounded as heads are, and more: whoever reads them next must have no bound below.
    pub(super) fn new(bounds: Bounds) -> Self {
        let trailers = bounds.bytes.saturating_sub(1).min(MOST_BYTES);
        Self { state: State::default(), extensions: MOST_BYTES, trailers, fields: bounds.fields }
    }

    /// Reads on: how many of the bytes are the body's, and whether it ends with them.
    ///
    /// # Errors
    /// How many of them stand before the first that is wrong.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), usize> {
        let mut at = 0_usize;
        while let Some(byte) = bytes.get(at) {
            if let State::Data { left } = self.state {
                let rest = bytes.len().saturating_sub(at);
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest);
                let left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                at = at.saturating_add(length);
                continue;
            }
            let is_end = matches!((self.state, byte), (State::End, b'\n'));
            self.state = self.next(*byte).ok_or(at)?;
            at = at.saturating_add(1);
            if is_end {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    fn next(&mut self, byte: u8) -> Option<State> {
        if self.state.is_behind_chunks() {
            take(&mut self.trailers)?;
        }
        match (self.state, byte) {
            (State::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                let digit = u64::from(char::from(byte).to_digit(16)?);
                let size = size.checked_mul(16)?.checked_add(digit)?;
                let digits = digits.checked_add(1).filter(|digits| *digits <= MOST_DIGITS)?;
                Some(State::Size { digits, size })
            }
            (State::Size { digits: 1.., size }, b';') => Some(State::Extension { size }),
            (State::Size { digits: 1.., size } | State::Extension { size }, b'\r') => {
                Some(State::SizeEnd { size })
            }
            (State::Extension { .. }, _) if is_text(byte) => {
                take(&mut self.extensions)?;
                Some(self.state)
            }
            (State::SizeEnd { size: 0 }, b'\n') => Some(State::TrailerStart),
            (State::SizeEnd { size }, b'\n') => Some(State::Data { left: size }),
            (State::DataCr, b'\r') => Some(State::DataLf),
            (State::DataLf, b'\n') => Some(State::Size { digits: 0, size: 0 }),
            (State::TrailerStart, b'\r') => Some(State::End),
            (State::TrailerStart, _) if is_token(byte) => {
                take(&mut self.fields)?;
                Some(State::TrailerName)
            }
            (State::TrailerName, _) if is_token(byte) => Some(State::TrailerName),
            (State::TrailerName, b':') => Some(State::TrailerValue),
            (State::TrailerValue, b'\r') => Some(State::TrailerEnd),
            (State::TrailerValue, _) if is_text(byte) => Some(State::TrailerValue),
            (State::TrailerEnd, b'\n') => Some(State::TrailerStart),
            // Nothing is read behind the end.
            (State::End, b'\n') => Some(State::End),
            _ => None,
        }
    }
}

impl State {
    const fn is_behind_chunks(self) -> bool {
        matches!(
            self,
            Self::TrailerStart
                | Self::TrailerName
                | Self::TrailerValue
                | Self::TrailerEnd
                | Self::End
        )
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

/// Takes one of those that there may be.
fn take(left: &mut usize) -> Option<()> {
    *left = left.checked_sub(1)?;
    Some(())
}

const fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// More than any chunk has, and less than overflows.
const MOST_DIGITS: u8 = 15;
/// The most that the extensions of a body may have together, and the most that its trailers may have; hyper takes twice as
/// much of extensions, and of trailers as much as of a head.
const MOST_BYTES: usize = 8 * 1024;
