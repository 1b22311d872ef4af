//! Profiles on their way to another store, or to a file and back.

use profile_store::{CopyOptions, CopyPhase, CopyProgress, Limits, ProfileStore, StoreOptions};

use crate::arguments::{Backup, Copy, Export, Import};
use crate::done::Done;
use crate::failure::Failure;
use crate::identity::is_same;
use crate::input::Input;
use crate::lines::Lines;
use crate::output::{Output, tell};
use crate::place::Place;
use crate::progress::Progress;

/// How a store is opened for profiles that a service has admitted already, by limits of its own.
pub fn with_widest_limits(options: StoreOptions) -> StoreOptions {
    let limits = Limits::default().with_memory_bytes(256 << 20).with_memory_depth(127).with_id_bytes(1024);
    options.with_limits(limits)
}

impl Copy {
    /// Refuses a copy to the store itself. To be called before either store is opened for the copy.
    pub async fn check(&self, from: &Place, options: &StoreOptions) -> Result<(), Failure> {
        let to = Place::target(self.to.clone());
        if is_same(from, &to, options).await? {
            return Err(Failure::SameStore { from: from.clone(), to });
        }
        Ok(())
    }

    pub async fn run(
        self,
        from: &dyn ProfileStore,
        place: &Place,
        options: StoreOptions,
        has_bar: bool,
    ) -> Result<Done, Failure> {
        let target = Place::target(self.to);
        let to = target.open(with_widest_limits(options)).await;
        let to = to.map_err(|error| Failure::opening(error, &target))?;
        let (bar, has_start) = (Progress::of_profiles(has_bar), self.start.is_some());
        let mut reached = None;
        let show = |progress: &CopyProgress| {
            bar.show(progress.done, progress.total, progress);
            reached = Some((progress.phase, progress.position.clone()));
        };
        let mut options =
            CopyOptions::default().with_guru(self.guru).with_start(self.start).with_progress(show);
        if self.skip_damaged {
            options = options.with_damaged(|error| bar.aside(|| tell(error)));
        }
        let copied = profile_store::copy(from, &*to, options).await;
        bar.finish();
        let closed = to.close().await;
        let copied = copied.map_err(|error| {
            match reached {
                Some((CopyPhase::Copying, place)) => {
                    tell(format_args!("copied as far as --start {}", for_shell(&place.to_string())));
                }
                // The difference may lie before the start, and nothing is written there.
                Some(_) if has_start => tell("to copy all that differs, leave out --start"),
                _ => {}
            }
            Failure::from(error).on(&[place, &target])
        })?;
        let (profiles, written) = (copied.profiles, copied.written);
        tell(format_args!("{profiles} profiles copied and verified, {written} of them written"));
        closed.map_err(|error| Failure::from(error).on(&[&target]))?;
        Ok(without(copied.damaged))
    }
}

/// The text as a word of a shell. It may be an end user's: neither the shell nor the terminal must act on it.
fn for_shell(text: &str) -> String {
    if !text.contains(char::is_control) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut word = "$'".to_owned();
    for character in text.chars() {
        match character {
            '\\' | '\'' => word.extend(['\\', character]),
            _ if character.is_control() => {
                character.to_string().bytes().for_each(|byte| word += &format!("\\{byte:03o}"));
            }
            _ => word.push(character),
        }
    }
    word + "'"
}

/// Names how many damaged records were left out, if any.
pub fn without(damaged: u64) -> Done {
    if damaged > 0 {
        tell(format_args!("{damaged} damaged records left out"));
    }
    Done::whole_if(damaged == 0)
}

impl Export {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        let mut damaged = 0;
        let export = match &self.guru {
            Some(guru) if self.users => profile_store::Export::users(store, guru),
            _ => profile_store::Export::profiles(store).with_guru(self.guru),
        };
        let mut export = export.with_filter(self.selection.filter())?;
        if let Some(since) = self.since {
            export = export.with_updated_since(since);
        }
        if let Some(prefix) = self.selection.prefix {
            export = export.with_prefix(prefix);
        }
        if self.skip_damaged {
            export = export.with_damaged(|error| {
                damaged += 1;
                tell(error);
            });
        }
        while let Some(lines) = export.next().await? {
            output.line(lines.trim_end())?;
            output.must_be_read()?;
        }
        drop(export);
        // The rest in the buffer may be the part that nobody reads.
        output.flush()?;
        output.must_be_read()?;
        Ok(without(damaged))
    }
}

impl Import {
    pub async fn run(
        self,
        store: &dyn ProfileStore,
        input: Input,
        output: &mut Output,
    ) -> Result<Done, Failure> {
        let import = profile_store::Import::profiles(store).with_batch_lines(self.batch.into());
        Lines::new(import, output).import(input).await
    }
}

impl Backup {
    pub async fn run(self, place: &Place, options: StoreOptions) -> Result<Done, Failure> {
        let Some(path) = place.sqlite_path() else { return Err(Failure::NotSqlite(place.clone())) };
        // It knows what a URL must not have.
        let opened = place.open(options.clone()).await.map_err(|error| Failure::opening(error, place))?;
        opened.close().await.map_err(|error| Failure::from(error).on(&[place]))?;
        let store = profile_store::SqliteStore::open_with(path, options).await;
        let store = store.map_err(|error| Failure::opening(error, place))?;
        let done = store.backup(&self.file).await;
        let closed = store.close().await;
        done.and(closed).map_err(|error| Failure::from(error).on(&[place]))?;
        Ok(Done::Whole)
    }
}
