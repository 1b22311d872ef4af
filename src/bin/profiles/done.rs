//! The result of a command.

/// The result of a command that was not refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Whole,
    InPart,
}

impl Done {
    pub fn whole_if(condition: bool) -> Self {
        if condition { Self::Whole } else { Self::InPart }
    }
}
