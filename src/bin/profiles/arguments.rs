//! The commands and options.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, value_parser};
use profile_store::{ExternalUserId, Filter, GuruSlug, Position, Timestamp};

use crate::selection::Selection;

const MORE: &str = "\
Examples:
  profiles upsert --guru my-guru request.json
  curl -s https://example.com/users.ndjson | profiles upsert --guru my-guru --ndjson -
  profiles get --guru my-guru user1-id user2-id
  profiles list --guru my-guru --prefix org1: --where '/plan=\"pro\"' --limit 50
  profiles delete --guru my-guru user1-id

  # Move off sled, times and ETags included:
  profiles copy --store sled:profiles.sled sqlite:profiles.db

  # Back up while others write; or as text, which every backend takes:
  profiles backup profiles-today.db
  profiles export > profiles.ndjson && profiles import --store sqlite:other.db profiles.ndjson

Exit status:
  0  all of it is done
  1  done, but for some users or lines, or all of them, that were not stored; or but for damaged
     records, which `verify` or --skip-damaged named
  2  refused, failed or cut off; standard error says why, which store it was, who named it, and what
     to do about it

If nobody reads standard output any more (`| head`), `get`, `list` and `gurus` end quietly, as
if all of it had been read. An `export` ends with 2 then, since a part of it looks like the
whole. An `upsert`, `import` or `delete` is finished in any case.";

/// Stores and reads the profiles of end users.
#[derive(Parser)]
#[command(name = "profiles", version, max_term_width = 100, after_help = MORE)]
pub struct Arguments {
    /// The store: sqlite:FILE, memory:, or, if built in, fjall:DIRECTORY, sled:DIRECTORY,
    /// postgres://USER@HOST/DATABASE. `upsert` and `import` create it if there is none.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "PROFILE_STORE",
        hide_env_values = true,
        default_value = "sqlite:profiles.db"
    )]
    pub store: String,

    /// Prints what happens inside the store to standard error: commits, waits, checkpoints, retries, with figures. There is no bar then.
    #[arg(long, short, global = true)]
    pub verbose: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Upsert(Upsert),
    Get(Get),
    List(List),
    Delete(Delete),
    Count(Count),
    /// Prints the slugs of the gurus that have profiles, one a line.
    Gurus,
    Copy(Copy),
    Export(Export),
    Import(Import),
    Backup(Backup),
    Sweep(Sweep),
    /// Prints how much the store holds, as a line of JSON.
    Stats,
    /// Gives back the room of what was deleted and replaced, so that no file holds a byte of it.
    Compact,
    /// Reads every record and holds it to its checksum; prints what is damaged, a line each.
    ///
    /// The exit status is 1 if anything is.
    Verify,
    Check(Check),
}

impl Command {
    /// Whether it makes a store where there is none: what only reads, or removes, does not.
    pub fn creates(&self) -> bool {
        matches!(self, Self::Upsert(_) | Self::Import(_))
    }
}

/// Copies all profiles to another store, with their times and ETags, and verifies them.
///
/// Run it again after any failure: what is there already is not written again. A profile that is
/// newer in the other store stays. Nothing is removed from either. A copy of a store to itself is refused, by
/// whatever path or link.
#[derive(Args)]
pub struct Copy {
    /// The store to copy to, created where there is none.
    #[arg(value_name = "URL")]
    pub to: String,

    /// Copies only this guru.
    #[arg(long, value_name = "SLUG")]
    pub guru: Option<GuruSlug>,

    /// Skips the profiles before this place as copied; a copy that fails on its way prints it, one that is killed does not.
    #[arg(long, value_name = "GURU/ID")]
    pub start: Option<Position>,

    /// Leaves out damaged records, and names each on standard error; the exit status is 1 then.
    #[arg(long)]
    pub skip_damaged: bool,
}

/// Prints profiles as NDJSON, for `import`.
///
/// A line has guru, external_user_id, memory, etag, created_at and updated_at. If it is cut off, because
/// nobody reads it any more or its disk is full, the exit status is 2. A standard output that is closed from the
/// start (>&-) is the same as /dev/null.
#[derive(Args)]
pub struct Export {
    /// Exports only this guru.
    #[arg(long, value_name = "SLUG")]
    pub guru: Option<GuruSlug>,

    /// Prints only external_user_id and memory, for `upsert --ndjson`.
    #[arg(long, requires = "guru")]
    pub users: bool,

    /// Exports what has changed since this moment (RFC 3339, such as 2026-01-31T00:00:00Z).
    #[arg(long, value_name = "TIME")]
    pub since: Option<Timestamp>,

    /// Leaves out damaged records, and names each on standard error; the exit status is 1 then.
    #[arg(long)]
    pub skip_damaged: bool,

    #[command(flatten)]
    pub selection: Selection,
}

/// Stores what `export` has printed, with times and ETags.
///
/// The lines are stored in batches, each a transaction, in their order. Only those that fail are
/// printed, {"line": 4, "external_user_id": …, "errors": […]}, counted from 1, blank lines included. A
/// profile that is newer in the store stays. Run it again after any failure.
#[derive(Args)]
pub struct Import {
    /// The file to read, - for standard input.
    pub input: PathBuf,

    /// Lines in a batch; one also ends with 8 MiB.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u16).range(1..=10_000))]
    pub batch: u16,
}

/// Writes a consistent copy of a SQLite store to a new file, while others read and write.
#[derive(Args)]
pub struct Backup {
    /// The file to write; there must be none of this name.
    pub file: PathBuf,
}

/// Removes the profiles whose memory has not changed for some days, in bounded transactions.
///
/// Prints for each guru how many there were, {"guru": …, "swept": 7}, or with --dry-run how many there
/// are, {"guru": …, "to_sweep": 7}.
#[derive(Args)]
pub struct Sweep {
    /// Sweeps only this guru.
    #[arg(long, value_name = "SLUG")]
    pub guru: Option<GuruSlug>,

    /// How many days a memory may stay as it is.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub days: u32,

    /// Removes nothing: only counts what would be removed.
    #[arg(long)]
    pub dry_run: bool,

    /// Keeps damaged records, and names each on standard error; the exit status is 1 then.
    #[arg(long)]
    pub skip_damaged: bool,
}

/// Tells whether the store works: reads from it.
#[derive(Args)]
pub struct Check {
    /// Writes to it too, durably; no profile is touched.
    #[arg(long)]
    pub write: bool,
}

/// Creates or replaces profiles.
///
/// INPUT is the documented request body, and what is printed is the documented response. The users
/// that can be stored are stored, in one transaction; with any other the exit status is 1.
///
/// With --ndjson, INPUT has one user a line, {"external_user_id": …, "memory": {…}}, and may be of
/// any size: it is read and stored in batches, each a transaction, in the order of the lines. Only
/// lines that failed are printed, {"line": 4, "external_user_id": …, "errors": […]}, counted from 1.
/// Blank lines are skipped, but counted. A line of more than 8 MiB fails by itself.
///
/// Whatever goes wrong, run it again: users stored already are left as they are, unless somebody has written them
/// since, or an id stands on several lines. With --if-absent, users stored already fail: their profiles exist.
///
/// A summary goes to standard error.
#[derive(Args)]
pub struct Upsert {
    #[command(flatten)]
    pub guru: Guru,

    /// The file to read, - for standard input.
    pub input: PathBuf,

    /// Reads one user a line.
    #[arg(long)]
    pub ndjson: bool,

    /// Merges each memory into the one that is stored, as a JSON Merge Patch (RFC 7396): null removes a member.
    #[arg(long)]
    pub merge: bool,

    /// Creates only: a user that has a profile fails, and the profile stays as it is.
    #[arg(long)]
    pub if_absent: bool,

    /// Lines in a batch; one also ends with 8 MiB.
    #[arg(long, requires = "ndjson", value_name = "N", default_value_t = 1000, value_parser = value_parser!(u16).range(1..=10_000))]
    pub batch: u16,
}

/// Prints memories exactly as stored, one a line, in the order of the ids.
///
/// An id that has no profile gives `null`, and so does one that has nothing at the pointer of --at.
#[derive(Args)]
pub struct Get {
    #[command(flatten)]
    pub guru: Guru,

    /// The external user ids.
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<ExternalUserId>,

    /// Prints the whole profile: external_user_id, memory, etag, created_at and updated_at.
    #[arg(long)]
    pub json: bool,

    /// Prints only what the memory has at this JSON Pointer (RFC 6901), such as /plan.
    #[arg(long, value_name = "POINTER", conflicts_with = "json", value_parser = pointer)]
    pub at: Option<String>,
}

/// The text, if it is a JSON Pointer.
fn pointer(text: &str) -> Result<String, profile_store::Error> {
    Filter::at(text).map(|_| text.to_owned())
}

/// Prints profiles as NDJSON, ascending by the bytes of their ids.
///
/// A line has external_user_id, memory, etag, created_at and updated_at.
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    pub guru: Guru,

    /// Starts after this id, whether or not it has a profile.
    #[arg(long, value_name = "ID")]
    pub after: Option<ExternalUserId>,

    /// Ends after this many profiles.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,

    #[command(flatten)]
    pub selection: Selection,
}

/// Removes profiles: those of the ids, or with --all every profile of the guru, in one transaction.
///
/// With --prefix and --where it removes the profiles that they select, in transactions of at most 1,000. A
/// profile that changes after it was selected is kept.
///
/// Prints for each id whether there was a profile, {"external_user_id": …, "deleted": true}; without
/// ids how many there were, {"guru": …, "deleted": 7}. Deleting what is not there is fine.
#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["ids", "all", "prefix", "conditions"]))]
pub struct Delete {
    #[command(flatten)]
    pub guru: Guru,

    /// The external user ids.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "prefix", "conditions"])]
    pub ids: Vec<ExternalUserId>,

    /// Removes all profiles of the guru.
    #[arg(long, conflicts_with_all = ["prefix", "conditions"])]
    pub all: bool,

    #[command(flatten)]
    pub selection: Selection,
}

/// Prints how many profiles a guru has.
///
/// With --prefix and --where it counts only the profiles that they select.
#[derive(Args)]
pub struct Count {
    #[command(flatten)]
    pub guru: Guru,

    #[command(flatten)]
    pub selection: Selection,
}

#[derive(Args)]
pub struct Guru {
    /// The slug of the guru that the profiles belong to. Write --guru=-x if it begins with -.
    #[arg(long = "guru", value_name = "SLUG")]
    pub slug: GuruSlug,
}
