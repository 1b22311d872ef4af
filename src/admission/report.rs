//! The report of an upsert: typed for Rust, and as JSON key for key as the API documents it.
//!
//! The only file that knows the response's JSON words.

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::model::item_error::ItemError;

/// The outcome of an admitted item ([W6](crate::contract#w6)), by the net effect of its batch ([S4](crate::contract#s4)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// There was no profile with this id.
    Created,
    /// The profile's memory has changed.
    Updated,
    /// The profile had this very memory; nothing was written.
    Unchanged,
}

/// The result of one item of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserResult {
    /// The item's place in the request, from 0.
    pub user_index: usize,
    external_user_id: Option<Arc<str>>,
    /// The item's outcome, or all of its errors ([A4](crate::contract#a4)), at least one.
    pub result: Result<Outcome, Vec<ItemError>>,
}

impl UserResult {
    pub(crate) fn new(
        user_index: usize,
        external_user_id: Option<Arc<str>>,
        result: Result<Outcome, Vec<ItemError>>,
    ) -> Self {
        Self { user_index, external_user_id, result }
    }

    /// The id as given, even an inadmissible one; `None` if none was given ([W4](crate::contract#w4)).
    #[must_use]
    pub fn external_user_id(&self) -> Option<&str> {
        self.external_user_id.as_deref()
    }

    /// Whether the item is stored.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.result.is_ok()
    }

    /// The item's errors; empty for a success.
    #[must_use]
    pub fn errors(&self) -> &[ItemError] {
        self.result.as_ref().err().map_or(&[], Vec::as_slice)
    }
}

impl Serialize for UserResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("UserResult", 4)?;
        out.serialize_field("user_index", &self.user_index)?;
        out.serialize_field("external_user_id", &self.external_user_id())?;
        out.serialize_field("success", &self.is_success())?;
        out.serialize_field("errors", &ErrorStrings(self.errors()))?;
        out.end()
    }
}

struct ErrorStrings<'a>(&'a [ItemError]);

impl Serialize for ErrorStrings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(DisplayString))
    }
}

struct DisplayString<'a>(&'a ItemError);

impl Serialize for DisplayString<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// The number of items of a batch by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Items that created a profile.
    pub created: usize,
    /// Items that changed a profile's memory.
    pub updated: usize,
    /// Items that found their memory stored already.
    pub unchanged: usize,
    /// Items that were not stored.
    pub failed: usize,
}

/// The report of a batch, one [`UserResult`] an item, in request order ([W2](crate::contract#w2)).
///
/// Serialised it is the documented 200 response ([W1](crate::contract#w1)); [`error_body`](Self::error_body) is the
/// documented 400 response ([W5](crate::contract#w5)). The API documentation does not say which of the two a partial
/// success gets, so the service picks.
///
/// ```
/// use profile_store::{Batch, GuruSlug, MemoryStore, ProfileStore};
///
/// # pollster::block_on(async {
/// let store = MemoryStore::new();
/// let guru = GuruSlug::new("my-guru")?;
/// let body = br#"{"users":[{"external_user_id":"ada"},{"external_user_id":"bob","memory":{}}]}"#;
/// let report = store.upsert_batch(&guru, Batch::from_json(body)).await?;
///
/// assert_eq!(
///     report.to_json(),
///     concat!(
///         r#"{"status":"success","total_users":2,"processed_users":1,"users_results":["#,
///         r#"{"user_index":0,"external_user_id":"ada","success":false,"errors":["Missing memory data"]},"#,
///         r#"{"user_index":1,"external_user_id":"bob","success":true,"errors":[]}]}"#,
///     )
/// );
/// let refused = report.into_result().unwrap_err();
/// assert_eq!(refused.to_string(), "1 of 2 users failed, the first is user 0: Missing memory data");
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "users that were not stored are reported here, not as an error"]
pub struct UpsertReport {
    results: Vec<UserResult>,
}

impl UpsertReport {
    pub(crate) fn new(results: Vec<UserResult>) -> Self {
        Self { results }
    }

    /// One result an item, in request order.
    #[must_use]
    pub fn results(&self) -> &[UserResult] {
        &self.results
    }

    /// The results of the items that were not stored.
    pub fn failures(&self) -> impl Iterator<Item = &UserResult> {
        self.results.iter().filter(|result| !result.is_success())
    }

    /// The result of a batch of one item.
    pub(crate) fn into_only(mut self) -> UserResult {
        self.results.pop().expect("the batch had an item")
    }

    /// Items in the request.
    #[must_use]
    pub fn total_users(&self) -> usize {
        self.results.len()
    }

    /// Items that are stored now.
    #[must_use]
    pub fn processed_users(&self) -> usize {
        self.results.iter().filter(|result| result.is_success()).count()
    }

    /// The number of items by outcome.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for result in &self.results {
            *match result.result {
                Ok(Outcome::Created) => &mut counts.created,
                Ok(Outcome::Updated) => &mut counts.updated,
                Ok(Outcome::Unchanged) => &mut counts.unchanged,
                Err(_) => &mut counts.failed,
            } += 1;
        }
        counts
    }

    /// Whether every item is stored.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.results.iter().all(UserResult::is_success)
    }

    /// For callers to whom any failed item is an error.
    ///
    /// # Errors
    /// [`PartialFailure`], which holds the report, if an item failed. The items that did not
    /// fail are stored anyway ([R2](crate::contract#r2)).
    pub fn into_result(self) -> Result<Self, PartialFailure> {
        if self.is_complete() { Ok(self) } else { Err(PartialFailure { report: self }) }
    }

    /// The documented 200 response ([W1](crate::contract#w1)), compact.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// The same report as the documented 400 response ([W5](crate::contract#w5)).
    #[must_use]
    pub fn error_body(&self) -> ErrorBody<'_> {
        ErrorBody { report: self }
    }
}

impl Serialize for UpsertReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let processed = self.processed_users();
        // W3: nothing to do is a success, nothing done is not.
        let success = processed > 0 || self.results.is_empty();
        let mut out = serializer.serialize_struct("UpsertReport", 4)?;
        out.serialize_field("status", if success { "success" } else { "error" })?;
        out.serialize_field("total_users", &self.total_users())?;
        out.serialize_field("processed_users", &processed)?;
        out.serialize_field("users_results", &self.results)?;
        out.end()
    }
}

/// An [`UpsertReport`] that serialises to the documented 400 response ([W5](crate::contract#w5)).
#[derive(Clone, Copy, Debug)]
pub struct ErrorBody<'a> {
    report: &'a UpsertReport,
}

impl ErrorBody<'_> {
    /// The documented 400 response, compact.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

impl Serialize for ErrorBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("ErrorBody", 3)?;
        out.serialize_field("error", "Failed to process some users")?;
        out.serialize_field("details", &[(); 0])?;
        out.serialize_field("users_results", &self.report.results)?;
        out.end()
    }
}

fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("strings, numbers and booleans always serialise")
}

/// Some items of a batch were not stored; the others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialFailure {
    report: UpsertReport,
}

impl PartialFailure {
    /// The whole report.
    pub fn report(&self) -> &UpsertReport {
        &self.report
    }

    /// The whole report, by value.
    pub fn into_report(self) -> UpsertReport {
        self.report
    }
}

impl fmt::Display for PartialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.report.counts().failed;
        write!(f, "{failed} of {} users failed", self.report.total_users())?;
        if let Some(first) = self.report.failures().next() {
            write!(f, ", the first is user {}", first.user_index)?;
            for (n, error) in first.errors().iter().enumerate() {
                write!(f, "{} {error}", if n == 0 { ":" } else { "," })?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for PartialFailure {}
