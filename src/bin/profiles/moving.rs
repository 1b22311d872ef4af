//! Profiles on their way to another store, or to a file and back.

use profile_store::{CopyOptions, CopyPhase, CopyProgress, ProfileStore, StoreOptions};

use crate::Done;
use crate::arguments::{Backup, Copy, Export, Import};
use crate::failure::Failure;
use crate::input::Input;
use crate::lines::Lines;
use crate::output::{Output, tell};
use crate::progress::Progress;

impl Copy {
    pub async fn run(self, from: &dyn ProfileStore) -> Result<Done, Failure> {
        let to = profile_store::open(&self.to).await?;
        let bar = Progress::of_profiles();
        let mut reached = None;
        let show = |progress: &CopyProgress| {
            bar.show(progress.done, progress.total, progress);
            if progress.phase == CopyPhase::Copying {
                reached = Some(progress.position.clone());
            }
        };
        let options = CopyOptions::default().with_guru(self.guru).with_start(self.start).with_progress(show);
        let copied = profile_store::copy(from, &*to, options).await;
        bar.finish();
        let closed = to.close().await;
        match copied {
            Ok(copied) => tell(format_args!(
                "{} profiles copied and verified, {} of them written",
                copied.profiles, copied.written
            )),
            Err(error) => {
                if let Some(reached) = reached {
                    tell(format_args!("copied as far as --start {reached}"));
                }
                return Err(error.into());
            }
        }
        closed?;
        Ok(Done::Whole)
    }
}

impl Export {
    pub async fn run(self, store: &dyn ProfileStore, output: &mut Output) -> Result<Done, Failure> {
        let export = match &self.guru {
            Some(guru) if self.users => profile_store::Export::users(store, guru),
            _ => profile_store::Export::profiles(store).with_guru(self.guru),
        };
        let mut export = match self.since {
            Some(since) => export.with_updated_since(since),
            None => export,
        };
        while !output.is_closed()
            && let Some(lines) = export.next().await?
        {
            output.line(lines.trim_end())?;
        }
        Ok(Done::Whole)
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
        Lines::new(import, output, |failure| {
            let id = failure.external_user_id.as_deref();
            let (line, errors) = (failure.line, &failure.errors);
            serde_json::json!({ "line": line, "external_user_id": id, "errors": errors }).to_string()
        })
        .import(input)
        .await
    }
}

impl Backup {
    #[cfg(feature = "sqlite")]
    pub async fn run(self, url: &str, options: StoreOptions) -> Result<Done, Failure> {
        let Some(path) = url.strip_prefix("sqlite:") else { return Err(Self::not_sqlite()) };
        let store = profile_store::SqliteStore::open_with(path, options).await?;
        let done = store.backup(&self.file).await;
        let closed = store.close().await;
        done?;
        closed?;
        Ok(Done::Whole)
    }

    #[cfg(not(feature = "sqlite"))]
    pub async fn run(self, _url: &str, _options: StoreOptions) -> Result<Done, Failure> {
        Err(Self::not_sqlite())
    }

    fn not_sqlite() -> Failure {
        let message = "only a SQLite store (sqlite:FILE) can be backed up to a file: use copy or export";
        profile_store::Error::new(profile_store::ErrorKind::Unsupported, message).into()
    }
}
