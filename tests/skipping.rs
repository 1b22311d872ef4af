//! Damaged records that copying, exporting and sweeping skip (S12).

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use profile_store::{
    CopyOptions, Error, ErrorKind, Export, Guru, GuruSlug, MemoryStore, Position, ProfileStore, User, copy,
};

/// Ids of the guru `a` with damaged records: the first and the last, one inside a page, and those around its end.
pub const IDS: [&str; 6] = ["u0000", "u0500", "u0999", "u1000", "u1001", "u2499"];

/// A guru of three profiles, all of them damaged.
pub const RUINED: &str = "ruined";

/// A guru of three profiles whose own record is damaged.
pub const HEADLESS: &str = "headless";

/// Profiles of [`fill`] that are sound if the records named above are damaged.
const SOUND: usize = 2500 - IDS.len() + 1;

type Place = (String, Option<String>);

fn slug(text: &str) -> GuruSlug {
    GuruSlug::new(text).unwrap()
}

/// Stores the profiles that the tests below damage.
pub async fn fill(store: &dyn ProfileStore) {
    for (guru, users) in [("a", 2500), (HEADLESS, 3), (RUINED, 3), ("z", 1)] {
        let users =
            (0..users).map(|n| User::serialize(format!("u{n:04}"), &serde_json::json!({ "plan": "hush" })));
        assert!(store.upsert_batch(&slug(guru), users.collect()).await.unwrap().is_complete());
    }
}

/// The records that are damaged, as errors name them; `stray` is the end of an id that can't be one.
fn places(headless: bool, stray: Option<&str>) -> BTreeSet<Place> {
    let records = IDS.map(|id| ("a", id)).into_iter();
    let records = records.chain(["u0000", "u0001", "u0002"].map(|id| (RUINED, id)));
    let records = records.chain(stray.map(|stray| ("a", stray)));
    let records = records.map(|(guru, id)| (guru.to_owned(), Some(id.to_owned())));
    records.chain(headless.then(|| (HEADLESS.to_owned(), None))).collect()
}

/// Collects what is told, and holds it to S12 and S14.
#[derive(Default)]
struct Told {
    places: BTreeSet<Place>,
    times: usize,
    stray: Option<&'static str>,
}

impl Told {
    fn take(&mut self, error: &Error) {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(!format!("{error} {error:?} {}", error.chain()).contains("hush"), "S14: {error:?}");
        let id = error.external_user_id().map(|id| match self.stray {
            Some(stray) if id.ends_with(stray) => stray.to_owned(),
            _ => id.to_owned(),
        });
        self.places.insert((error.guru().expect("the guru is named").to_owned(), id));
        self.times += 1;
    }
}

/// The start of a name of a guru that can't be a slug, between two of [`fill`]'s.
pub const NAMELESS: &str = "b{";

/// S12: a store of [`fill`] with a guru whose name is [`NAMELESS`] with an end of the engine's choice. Every other guru is
/// listed before it is told, and those who skip damage come to the end.
pub async fn check_nameless(store: &dyn ProfileStore) {
    let gurus = ["a", HEADLESS, RUINED, "z"].map(slug);
    for limit in 0..=4 {
        assert_eq!(store.gurus(None, limit).await.unwrap(), gurus[..limit]);
    }
    let is_told = |error: &Error| {
        assert_eq!((error.kind(), error.external_user_id()), (ErrorKind::Corrupt, None), "{error:?}");
        assert!(error.guru().unwrap().starts_with(NAMELESS), "{error:?}");
    };
    for after in [None, Some("a"), Some("c"), Some("z"), Some("zz")] {
        is_told(&store.gurus(after.map(slug).as_ref(), 5).await.unwrap_err());
    }
    is_told(&copy(store, &MemoryStore::new(), CopyOptions::default()).await.unwrap_err());
    assert!(!store.verify().await.unwrap().is_sound());

    for start in [None, Some("a"), Some("z")] {
        let (mut told, to) = (0, MemoryStore::new());
        let options = CopyOptions::default().with_damaged(|error| {
            is_told(error);
            told += 1;
        });
        let start = start.map(|guru| Position { guru: slug(guru), after: "u0000".parse().unwrap() });
        let options = match &start {
            Some(start) => options.with_start(start.clone()),
            None => options,
        };
        // What lies before the start is only looked at, and differs.
        let copied = copy(store, &to, options).await;
        assert_eq!(told, 1, "{start:?}");
        match start {
            None => assert_eq!(copied.unwrap().profiles, 2507),
            Some(_) => assert_eq!(copied.unwrap_err().kind(), ErrorKind::Busy),
        }
    }
    let (mut told, mut lines) = (0, 0);
    let mut export = Export::profiles(store).with_damaged(|error| {
        is_told(error);
        told += 1;
    });
    while let Some(more) = export.next().await.unwrap() {
        lines += more.lines().count();
    }
    drop(export);
    assert_eq!((told, lines), (1, 2507));
}

/// A store of [`fill`] in which the records named above are damaged. In the place of `u0700`, `stray` is the end of the id that
/// a damaged key gives, if there is one.
pub async fn check(store: &dyn ProfileStore, headless: bool, stray: Option<&'static str>) {
    let expected = places(headless, stray);
    let sound = SOUND - usize::from(stray.is_some()) + if headless { 0 } else { 3 };
    let told = || Told { stray, ..Told::default() };

    // Without being asked to, nothing is skipped.
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let mut export = Export::profiles(store);
    for error in [
        copy(store, &MemoryStore::new(), CopyOptions::default().with_guru(slug("a"))).await.unwrap_err(),
        export.next().await.unwrap_err(),
        Guru::new(store, slug("a")).sweep(tomorrow).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let first = expected.iter().find(|(guru, _)| guru == "a").unwrap().1.as_deref();
        assert_eq!((error.guru(), error.external_user_id()), (Some("a"), first));
    }

    let to = MemoryStore::new();
    for written in [sound as u64, 0] {
        let mut told = told();
        let options = CopyOptions::default().with_damaged(|error| told.take(error));
        let copied = copy(store, &to, options).await.unwrap();
        assert_eq!((copied.profiles, copied.written), (sound as u64, written));
        assert_eq!((&told.places, told.times as u64), (&expected, copied.damaged));
        assert_eq!(told.times, expected.len(), "each once");
    }
    // Records before the start are verified, so damage there is reported too.
    let mut told_from = told();
    let start = Position { guru: slug(RUINED), after: "u0001".parse().unwrap() };
    let options = CopyOptions::default().with_start(start).with_damaged(|error| told_from.take(error));
    assert_eq!(copy(store, &to, options).await.unwrap().profiles, 1);
    assert_eq!((&told_from.places, told_from.times), (&expected, expected.len()));
    let mut one = told();
    let options = CopyOptions::default().with_guru(slug(RUINED)).with_damaged(|error| one.take(error));
    assert_eq!(copy(store, &MemoryStore::new(), options).await.unwrap().damaged, 3);

    let mut exported = told();
    let mut lines = 0;
    let mut export = Export::profiles(store).with_damaged(|error| exported.take(error));
    while let Some(more) = export.next().await.unwrap() {
        lines += more.lines().count();
    }
    drop(export);
    assert_eq!((lines, &exported.places, exported.times), (sound, &expected, expected.len()));

    let mut swept = told();
    let mut removed = 0;
    for guru in ["a", RUINED, "z"] {
        removed +=
            Guru::new(store, slug(guru)).sweep_skipping(tomorrow, |error| swept.take(error)).await.unwrap();
    }
    if headless {
        swept.take(&Guru::new(store, slug(HEADLESS)).sweep_skipping(tomorrow, |_| ()).await.unwrap_err());
    }
    assert_eq!(removed as usize, SOUND - usize::from(stray.is_some()));
    assert_eq!((&swept.places, swept.times), (&expected, expected.len()));
    // The damaged ones are kept.
    for id in IDS {
        assert_eq!(Guru::new(store, slug("a")).get(id).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
