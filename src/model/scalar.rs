//! A JSON value that is no array and no object, and how two of them compare (L4).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::json::scan::Scanner;
use crate::model::error::{Error, ErrorKind, Result};

/// A value to compare with: a string, a number, a boolean or `null`.
///
/// Strings, integers and booleans convert with [`From`]. A float converts with [`TryFrom`], as JSON has no NaN and no infinity.
#[derive(Clone, PartialEq, Eq)]
pub struct Scalar(pub(super) Value<'static>);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    Number(Number),
    String(Cow<'a, str>),
}

impl Scalar {
    /// `null`.
    pub const NULL: Self = Self(Value::Null);
}

/// Without its content (S14).
impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
        })
    }
}

impl<'a> Value<'a> {
    /// The value that a text stands for; `None` for an array or an object.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        Some(match text.as_bytes().first()? {
            b'n' => Self::Null,
            b't' => Self::Boolean(true),
            b'f' => Self::Boolean(false),
            b'"' => Self::String(Scanner::new(text).string().ok()?.decode()?),
            b'[' | b'{' => return None,
            _ => Self::Number(Number::read(text)?),
        })
    }

    /// How two numbers, or two strings, stand to each other; nothing else has an order.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => Some(one.cmp(other)),
            (Self::String(one), Self::String(other)) => Some(one.as_bytes().cmp(other.as_bytes())),
            _ => None,
        }
    }
}

/// A finite number, in the three kinds that `serde_json` knows.
#[derive(Clone, Copy)]
pub(super) enum Number {
    /// Holds every `u64` and every `i64`.
    Integer(i128),
    /// Finite.
    Float(f64),
}

impl Number {
    /// As `serde_json` reads it without its feature `arbitrary_precision`.
    fn read(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<u64>() {
            return Some(Self::Integer(number.into()));
        }
        if let Ok(number) = text.parse::<i64>() {
            return Some(Self::Integer(number.into()));
        }
        serde_json::from_str::<f64>(text).ok().filter(|number| number.is_finite()).map(Self::Float)
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Integer(one), Self::Integer(other)) => one.cmp(&other),
            (Self::Integer(one), Self::Float(other)) => integer_to_float(one, other),
            (Self::Float(one), Self::Integer(other)) => integer_to_float(other, one).reverse(),
            (Self::Float(one), Self::Float(other)) => one.partial_cmp(&other).expect("both are finite"),
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

/// Exact: the integer has at most 64 bits. A float beyond `i128` is beyond it, and a float within is cut to an integer
/// without a loss.
fn integer_to_float(integer: i128, float: f64) -> Ordering {
    let whole = float.trunc();
    // A cast takes what is beyond for the nearer end.
    integer.cmp(&(whole as i128)).then_with(|| 0.0.partial_cmp(&(float - whole)).expect("it is finite"))
}

macro_rules! scalar_from {
    ($($integer:ty)*) => {
        $(impl From<$integer> for Scalar {
            fn from(number: $integer) -> Self {
                Self(Value::Number(Number::Integer(number.into())))
            }
        })*
    };
}

scalar_from!(i8 i16 i32 i64 u8 u16 u32 u64);

impl From<bool> for Scalar {
    fn from(value: bool) -> Self {
        Self(Value::Boolean(value))
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Scalar {
    fn from(text: String) -> Self {
        Self(Value::String(text.into()))
    }
}

impl TryFrom<f64> for Scalar {
    type Error = Error;

    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for NaN and infinity.
    fn try_from(number: f64) -> Result<Self> {
        if number.is_finite() {
            return Ok(Self(Value::Number(Number::Float(number))));
        }
        Err(Error::new(ErrorKind::InvalidInput, "NaN and infinity can't be compared with"))
    }
}

impl TryFrom<&serde_json::Value> for Scalar {
    type Error = Error;

    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an array or an object.
    fn try_from(value: &serde_json::Value) -> Result<Self> {
        match value {
            serde_json::Value::Null => Ok(Self::NULL),
            serde_json::Value::Bool(value) => Ok((*value).into()),
            serde_json::Value::String(text) => Ok(text.as_str().into()),
            serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => Ok(number.into()),
                (None, Some(number)) => Ok(number.into()),
                (None, None) => number.as_f64().unwrap_or(f64::NAN).try_into(),
            },
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                Err(Error::new(ErrorKind::InvalidInput, "arrays and objects can't be compared with"))
            }
        }
    }
}
