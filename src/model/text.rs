//! Text that may lie in a buffer with other text.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A piece of text that is cloned by reference: one of its own, or a part of a buffer that it keeps
/// alive as a whole.
#[derive(Clone)]
pub(crate) enum Text {
    Whole(Arc<str>),
    Part {
        buffer: Arc<String>,
        // So that the whole takes three words. Invariant: both lie on characters' borders.
        start: u32,
        end: u32,
    },
}

impl Text {
    /// `part`, which lies in `buffer`, without copying it.
    ///
    /// # Panics
    /// If it does not lie there.
    pub fn part(buffer: &Arc<String>, part: &str) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(buffer.as_ptr().addr());
        let end = start.wrapping_add(part.len());
        let lies_there = start <= end && end <= buffer.len();
        assert!(lies_there, "the part lies in the buffer");
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) => Self::Part { buffer: Arc::clone(buffer), start, end },
            _ => Self::Whole(part.into()),
        }
    }

    #[inline]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Whole(text) => text,
            Self::Part { buffer, start, end } => &buffer[*start as usize..*end as usize],
        }
    }

    /// The same text, keeping nothing else alive.
    pub fn into_whole(self) -> Self {
        match self {
            Self::Whole(_) => self,
            Self::Part { .. } => Self::Whole(self.as_str().into()),
        }
    }
}

impl<T: Into<Arc<str>>> From<T> for Text {
    fn from(text: T) -> Self {
        Self::Whole(text.into())
    }
}

/// The text itself: not for memories (S14), nor for what lies around it in the buffer.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By bytes.
impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl std::hash::Hash for Text {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_its_text_and_keeps_the_buffer() {
        let buffer = Arc::new("añb".to_owned());
        let part = Text::part(&buffer, &buffer[1..3]);
        assert_eq!(part.as_str(), "ñ");
        assert_eq!(Arc::strong_count(&buffer), 2);
        assert!(part == Text::from("ñ") && part != Text::part(&buffer, &buffer[0..1]));
        assert_eq!(Text::part(&buffer, &buffer[4..]).as_str(), "");

        let whole = part.into_whole();
        assert_eq!((whole.as_str(), Arc::strong_count(&buffer)), ("ñ", 1));
    }

    #[test]
    #[should_panic(expected = "the part lies in the buffer")]
    fn text_from_elsewhere_is_no_part() {
        let buffer = Arc::new("abc".to_owned());
        Text::part(&buffer, "abc");
    }
}
