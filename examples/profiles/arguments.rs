//! What can be asked for.

use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  profiles upsert --guru my-guru request.json
  curl -s https://example.com/export.ndjson | profiles upsert --guru my-guru --ndjson -
  profiles --store sqlite:/var/lib/app/profiles.db get --guru my-guru user1-id
  profiles list --guru my-guru --limit 10 | jq .memory

Exit status:
  0  all done
  1  some items failed; the others are stored
  2  refused or failed; standard error says what to do";

/// Stores end-user profiles, and reads them back.
#[derive(Parser)]
#[command(name = "profiles", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// The store: `sqlite:FILE`, `sled:DIRECTORY` or `memory:`, as compiled in.
    #[arg(long, global = true, value_name = "URL", default_value = "sqlite:profiles.db")]
    pub store: String,

    #[command(subcommand)]
    pub task: Task,
}

#[derive(Subcommand)]
pub enum Task {
    /// Create or replace profiles, and print the documented response.
    Upsert(Upsert),
    /// Print the memory of each id on a line, exactly as stored, `null` where the id is unknown.
    Get {
        #[command(flatten)]
        guru: Guru,
        /// External user ids.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Print profiles as NDJSON, ascending by the bytes of their ids.
    List {
        #[command(flatten)]
        guru: Guru,
        /// Start behind this id.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// Print at most this many.
        #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
    },
    /// Print how many profiles there are.
    Count {
        #[command(flatten)]
        guru: Guru,
    },
    /// Remove profiles, and print for each id whether there was one.
    Delete {
        #[command(flatten)]
        guru: Guru,
        /// External user ids.
        #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<String>,
        /// Remove all profiles of the guru, and print how many there were.
        #[arg(long)]
        all: bool,
    },
    /// Print the gurus that have profiles, one a line.
    Gurus,
}

#[derive(Args)]
pub struct Guru {
    /// The guru's slug.
    #[arg(long = "guru", value_name = "SLUG")]
    pub slug: String,
}

#[derive(Args)]
pub struct Upsert {
    #[command(flatten)]
    pub guru: Guru,
    /// The documented request body; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub input: String,
    /// Read one user a line, `{"external_user_id": …, "memory": …}`, any number of them, in constant
    /// memory. Prints the results of the failed lines alone, as NDJSON; `user_index` counts lines
    /// from 0. Blank lines are passed over, but counted.
    #[arg(long)]
    pub ndjson: bool,
    /// With --ndjson: how many lines are stored in one transaction. A repeated id takes the memory
    /// of its last line.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub batch: u64,
}
