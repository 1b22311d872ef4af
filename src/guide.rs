//! The guide: one page per question. Each page opens with the task and a program that runs.
//!
//! | question | page |
//! |---|---|
//! | How do I serve a request in five minutes? | [`quickstart`] |
//! | Which status, ETag or page does a client get? | [`http`] |
//! | Which backend do I take? | [`backends`] |
//! | May I retry, and what is stored after an error? | [`idempotence`] |
//! | What does `Ok` promise? | [`durability`] |
//! | How are tenants kept apart? | [`tenants`] |
//! | What is refused, and who waits? | [`limits`] |
//! | How do I change a part of a memory, or write on a condition? | [`merging`] |
//! | How do I read, find and stream? | [`reading`] |
//! | How do I erase, and expire what is old? | [`erasure`] |
//! | How do I back up, or move to another backend? | [`moving`] |
//! | When and how do I use PostgreSQL or Citus? | [`postgres`] |
//! | How do I operate it? | [`operating`] |
//! | May I upgrade, and what stays the same? | [`versions`] |
//! | How do I test my service? | [`testing`] |
//! | Can I call it without async? | [`without_async`] |
//! | How do I write a backend? | [`writing_a_backend`] |
//! | How fast is it, and why not faster? | [`speed`] |
//! | What is it not for? | [`alternatives`] |
//! | How do I … ? | [`cookbook`] |
//! | What was decided that the API documentation leaves open? | [`decisions`] |
//!
//! The promises themselves, by number, are in [`contract`](super::contract).

/// A page each: its text, and the targets of its links to the backends, which depend on the features.
macro_rules! pages {
    ($($page:ident)*) => {
        $(
            #[doc = include_str!(concat!("guide/", stringify!($page), ".md"))]
            #[doc = ""]
            #[cfg_attr(
                all(feature = "sqlite", feature = "fjall", feature = "sled", feature = "postgres", feature = "conformance"),
                doc = include_str!("guide/links.md")
            )]
            #[cfg_attr(
                not(all(
                    feature = "sqlite",
                    feature = "fjall",
                    feature = "sled",
                    feature = "postgres",
                    feature = "conformance"
                )),
                doc = include_str!("guide/links_docs_rs.md")
            )]
            pub mod $page {}
        )*
    };
}

pages! {
    quickstart http backends idempotence durability tenants limits merging reading erasure moving postgres operating versions
    testing without_async writing_a_backend speed alternatives cookbook decisions
}
