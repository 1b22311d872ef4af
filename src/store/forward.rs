//! Stores that hold another store.

use std::pin::Pin;
use std::sync::Arc;

use crate::model::error::Result;
use crate::store::contract::ProfileStore;

/// The future of a call, as `async_trait` makes it.
pub(crate) type Call<'call, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'call>>;

/// Makes `$store`, one that holds another store, a store by forwarding every method to it. The future
/// returned is the other store's own: forwarding allocates nothing.
macro_rules! forward {
    ($store:ty, |$this:ident| $target:expr $(, [$($generics:tt)*])?) => {
        const _: () = {
            use $crate::admission::batch::Batch;
            use $crate::admission::report::UpsertReport;
            use $crate::model::limits::Limits;
            use $crate::model::name::{ExternalUserId, GuruSlug};
            use $crate::model::profile::Profile;
            use $crate::plan::change::Effects;
            use $crate::plan::writes::Writes;
            use $crate::store::list::ListOptions;
            use $crate::store::page::Page;
            use $crate::store::upkeep::{Probe, Stats, Verification};

            #[deny(clippy::missing_trait_methods)]
            impl $(<$($generics)*>)? $crate::store::contract::ProfileStore for $store {
                fn limits(&self) -> &Limits {
                    let $this = self;
                    $target.limits()
                }

                fn gauges(&self) -> $crate::store::observe::Gauges {
                    let $this = self;
                    $target.gauges()
                }

                $crate::store::forward::forward! { methods |$this| $target;
                    apply['a](guru: &'a GuruSlug, writes: Writes) -> Effects;
                    get_many['a, 'b](guru: &'a GuruSlug, ids: &'b [ExternalUserId]) -> Vec<Option<Profile>>;
                    list['a, 'b](guru: &'a GuruSlug, options: &'b ListOptions) -> Page;
                    count['a](guru: &'a GuruSlug) -> u64;
                    gurus['a](after: Option<&'a GuruSlug>, limit: usize) -> Vec<GuruSlug>;
                    delete_guru['a](guru: &'a GuruSlug) -> u64;
                    stats[]() -> Stats;
                    compact[]() -> ();
                    health[](probe: Probe) -> ();
                    verify[]() -> Verification;
                    close[]() -> ();
                    upsert_batch['a, 'b](guru: &'a GuruSlug, batch: Batch<'b>) -> UpsertReport;
                    delete_many['a, 'b](guru: &'a GuruSlug, ids: &'b [ExternalUserId]) -> Vec<bool>;
                }
            }
        };
    };
    (methods |$this:ident| $target:expr;
        $($method:ident [$($life:lifetime),*] ($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $method<'store, $($life,)* 'call>(
            &'store self,
            $($arg: $type),*
        ) -> $crate::store::forward::Call<'call, $answer>
        where
            'store: 'call,
            $($life: 'call,)*
            Self: 'call,
        {
            let $this = self;
            $target.$method($($arg),*)
        }
    )*};
}

pub(crate) use forward;

forward!(Arc<S>, |store| (**store), [S: ProfileStore + ?Sized]);
forward!(Box<S>, |store| (**store), [S: ProfileStore + ?Sized]);
forward!(&S, |store| (**store), [S: ProfileStore + ?Sized]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::memory::MemoryStore;
    use crate::model::name::GuruSlug;

    /// A future around the store's own would be larger or smaller than it.
    #[test]
    fn forwarding_returns_the_future_of_the_store_itself() {
        let (store, guru) = (MemoryStore::new(), GuruSlug::new("g").unwrap());
        let own =
            [size_of_val(&*store.count(&guru)), size_of_val(&*store.stats()), size_of_val(&*store.close())];
        let held = Arc::new(Box::new(&store));
        let forwarded =
            [size_of_val(&*held.count(&guru)), size_of_val(&*held.stats()), size_of_val(&*held.close())];
        assert_eq!(own, forwarded);
        assert_ne!(own[0], own[1], "sizes differ from call to call");
    }
}
