//! Which profiles of a guru are meant: by their ids' beginning, and by what their memories hold.

use std::str::FromStr;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use profile_store::{Error, Filter, ListOptions, Scalar};

// No doc comment: it would be the help of every command that has these options.
#[derive(Args)]
pub struct Selection {
    /// Takes only profiles whose ids begin with this text.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub prefix: Option<String>,

    /// Takes only profiles whose memory holds this value there, such as '/plan="pro"'; may be repeated, and all must hold.
    ///
    /// POINTER is a JSON Pointer (RFC 6901). JSON is a string in double quotes, a number, true, false or null. The text
    /// is split at the first = after which JSON follows.
    #[arg(long = "where", value_name = "POINTER=JSON")]
    pub conditions: Vec<Condition>,
}

impl Selection {
    /// Whether every profile is taken.
    pub fn is_all(&self) -> bool {
        self.prefix.is_none() && self.conditions.is_empty()
    }

    /// All conditions in one; `None` if there are none.
    pub fn filter(&self) -> Option<Filter> {
        self.conditions.iter().map(|condition| condition.0.clone()).reduce(|one, other| one & other)
    }

    /// As options of a page, at its limit.
    pub fn options(&self) -> Result<ListOptions, Error> {
        ListOptions::default()
            .with_prefix(self.prefix.as_deref().unwrap_or_default())
            .with_filter(self.filter())
    }
}

/// The condition on a memory.
#[derive(Clone)]
pub struct Condition(Filter);

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |(at, _)| Some((at, serde_json::from_str::<serde_json::Value>(&text[at + 1..]).ok()?));
        let (at, value) = text.match_indices('=').find_map(read).ok_or(
            "no JSON follows a =; a string stands in double quotes, for a shell in single ones: '/plan=\"pro\"'",
        )?;
        let value = Scalar::try_from(&value).map_err(|error| error.to_string())?;
        Ok(Self(Filter::at(&text[..at]).map_err(|error| error.to_string())?.eq(value)))
    }
}

#[cfg(test)]
mod tests {
    use profile_store::Memory;

    use super::Condition;

    #[test]
    fn a_condition_is_split_where_json_follows() {
        let memory =
            Memory::from_json(r#"{"plan":"pro","a=b":1,"a":"=","n":null,"":true,"=":"=1"}"#).unwrap();
        for text in [r#"/plan="pro""#, "/a=b=1", r#"/a="=""#, "/n=null", "/=true", "/a=b= 1.0 ", r#"/=="=1""#]
        {
            let condition: Condition = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(condition.0.matches(&memory), "{text}");
        }
        for (text, said) in [
            ("/plan=pro", "double quotes"),
            ("/plan", "no JSON"),
            (r#"plan="pro""#, "begins with `/`"),
            ("/plan=[1]", "arrays and objects"),
        ] {
            let error = text.parse::<Condition>().err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
