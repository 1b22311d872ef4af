//! The list of checks, and how one is run.

use std::any::Any;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::fixture::Fixture;
use super::harness::MakeFixture;
use super::sequences::SEQUENCES;

/// One check of the suite.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Check {
    /// Its name, a sentence.
    pub name: &'static str,
    /// The clauses of the contract that it holds a backend to.
    pub clauses: &'static str,
    run: fn(MakeFixture<'_>),
}

impl Check {
    /// Runs the check against fresh fixtures, on a thread of its own. After [`Fixture::time_limit`] it is given up on, and
    /// the thread is left as it is.
    ///
    /// # Panics
    /// If the backend fails it or it is given up on, with the check's name and clauses.
    pub fn run<F: Fixture + 'static>(&self, make: impl Fn() -> F + Send + 'static) {
        let run = self.run;
        // The time limit of every fixture made, until the sender goes with its thread.
        let (made, events) = channel();
        let check = thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            run(&|| {
                let fixture = make();
                let _ = made.send(fixture.time_limit());
                Box::new(fixture)
            });
        });
        let check = check.unwrap_or_else(|error| panic!("{}: no thread can be started: {error}", self.name));
        // Until the first fixture is made.
        let (begun, mut fixtures, mut limit) = (Instant::now(), 0_u32, Duration::from_secs(120));
        loop {
            match events.recv_timeout(limit.saturating_sub(begun.elapsed())) {
                // For every so many fixtures: only random sequences make more.
                Ok(allowed) => {
                    fixtures += 1;
                    limit = allowed.saturating_mul(fixtures.div_ceil(SEQUENCES));
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!(
                    "{} ({}) has not ended within {limit:?}: the store never answers, or blocks the caller's thread",
                    self.name, self.clauses
                ),
            }
        }
        if let Err(panic) = check.join() {
            panic!("{} ({}) fails: {}", self.name, self.clauses, words(&*panic));
        }
    }
}

/// The message of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

/// All checks, in the order of the contract.
pub fn checks() -> impl Iterator<Item = Check> {
    CHECKS.iter().copied()
}

/// Runs the check of this name; what [`conformance_suite!`](crate::conformance_suite) expands to.
///
/// # Panics
/// If the backend fails it, or there is no such check.
pub fn run<F: Fixture + 'static>(name: &str, make: impl Fn() -> F + Send + 'static) {
    let check = checks().find(|check| check.name == name).expect("there is a check of this name");
    check.run(make);
}

/// The one list of checks, from which both the registry and the macro are made. `$dollar` is how a
/// macro writes another one's `$`.
macro_rules! suite {
    (($dollar:tt) $($file:ident: { $($check:ident [$clauses:literal],)* })*) => {
        const CHECKS: &[Check] = &[
            $($(Check { name: stringify!($check), clauses: $clauses, run: super::$file::$check },)*)*
        ];

        /// Makes every check of the conformance suite a `#[test]` of its name.
        ///
        /// The argument is an expression that can be called, `Fn() -> impl Fixture + Send + 'static`, for a fresh
        /// [`Fixture`](crate::conformance::Fixture). Call the macro in a module of its own for each
        /// backend.
        #[macro_export]
        macro_rules! conformance_suite {
            ($dollar make:expr) => {
                $($(
                    #[test]
                    fn $check() {
                        $dollar crate::conformance::run(stringify!($check), $dollar make);
                    }
                )*)*
            };
        }
    };
}

suite! { ($)
    request: {
        unknown_keys_are_ignored ["R1"],
        unknown_keys_are_held_to_the_grammar_alone ["R1, A2"],
        the_last_of_a_repeated_key_counts ["R1"],
        the_last_users_counts ["R1, R3"],
        keys_may_be_escaped ["R1"],
        a_request_may_be_laid_out_freely ["R1"],
        a_bad_item_costs_no_good_one ["R2, A4"],
        a_body_that_is_not_json_is_refused_with_its_position ["R3"],
        a_body_that_is_not_utf8_is_refused_with_its_position ["R3"],
        a_body_of_another_shape_is_refused ["R3"],
        too_many_items_are_refused_whole ["R3, A5"],
    }
    admission: {
        ids_are_told_apart_by_their_bytes ["A1"],
        escapes_in_an_id_stand_for_their_characters ["A1"],
        an_id_may_fill_its_limit ["A1, A5"],
        memories_are_judged_as_serde_json_judges_them ["A2"],
        nesting_is_limited ["A2, A4, A5"],
        a_memory_is_measured_as_stored ["A5"],
        a_memory_may_fill_a_mebibyte ["A5"],
        limits_are_those_the_store_was_opened_with ["A5"],
        every_item_error_has_its_words ["A4"],
        all_errors_of_an_item_are_told_in_order ["A4"],
        users_built_in_rust_are_judged_alike ["A1, A4, R2"],
        a_refused_update_leaves_the_profile_as_it_was ["A4"],
    }
    response: {
        the_response_is_the_documented_one ["W1, W2"],
        the_status_goes_by_what_is_stored ["W2, W3"],
        results_stand_in_request_order ["W2"],
        ids_are_echoed_as_given ["W4"],
        the_same_report_is_the_documented_400_body ["W5"],
        a_report_tells_outcomes_and_counts ["W6"],
    }
    storing: {
        a_memory_comes_back_byte_for_byte ["A3"],
        an_upsert_replaces_the_memory ["S6"],
        the_last_copy_of_an_id_wins ["S4"],
        a_copy_that_is_not_admitted_does_not_count ["S4, R2"],
        outcomes_go_by_the_net_effect ["S4, S5"],
        a_retry_changes_nothing ["S5"],
        what_changes_nothing_leaves_no_trace ["W3, S5"],
        space_alone_is_no_change ["S5, S7"],
        times_move_with_the_memory_alone ["S7"],
        a_clock_that_steps_back_takes_no_time_back ["S7"],
        times_span_1970_to_9999 ["S7"],
        a_profile_born_again_has_new_times ["S7, L2"],
        etags_are_a_hash_of_the_stored_bytes ["S7"],
    }
    modes: {
        a_merge_patches_what_is_there ["S6"],
        a_merge_creates_what_is_not_there ["S6"],
        patches_of_one_id_apply_in_order ["S4, S6"],
        a_merge_repeated_changes_nothing ["S5, S6"],
        patches_that_fit_together_can_be_repeated ["S5, A5"],
        a_merge_beyond_the_limits_is_refused ["S6, A5"],
        merging_is_chosen_for_each_user_too ["S6"],
        if_match_judges_by_the_etag ["S7"],
        if_absent_only_creates ["S7"],
        conditions_see_the_earlier_users_of_their_batch ["S4, S7"],
        a_failed_condition_costs_no_other_user ["R2, S7"],
        delete_if_match_judges_by_the_etag ["S7, L2"],
        all_or_nothing_stores_all_or_nothing ["S1"],
        no_concurrent_update_is_lost ["S7, S9"],
    }
    isolation: {
        no_guru_sees_anothers_profiles ["S8"],
        deleting_stays_within_its_guru ["S8"],
        a_cursor_reaches_no_other_guru ["S8"],
        every_plane_of_unicode_is_an_id ["S8, A1"],
        names_outside_their_rules_are_refused_before_any_io ["R4"],
        words_never_show_a_memory ["S14"],
    }
    concurrency: {
        nobody_sees_half_a_batch ["S1"],
        what_is_acknowledged_is_seen_by_all ["S9"],
        one_profiles_history_only_moves_on ["S9"],
        a_dropped_future_leaves_all_or_nothing ["S1, S10"],
        a_large_batch_can_be_dropped_anywhere ["S1, S10"],
        closing_can_be_dropped_and_repeated ["S10"],
        many_callers_are_served_at_once ["S10, S11"],
        of_writers_at_once_one_creates ["S5, S9"],
        of_deleters_at_once_one_is_told ["S9, L2"],
        closing_answers_every_caller ["S2, S9"],
        a_second_close_waits_for_the_first ["S2, S9"],
        a_closed_store_refuses_everything ["S3, S9"],
        a_full_batch_is_one_batch ["S1, A5"],
    }
    executor: {
        no_call_blocks_the_executor ["S11"],
    }
    reading: {
        get_many_answers_in_the_order_asked ["L1"],
        what_is_unknown_is_none ["L1"],
        listing_ascends_by_the_bytes_of_ids ["L1"],
        a_page_tells_whether_there_is_a_next_one ["L1"],
        a_page_ends_once_it_is_large ["L1"],
        a_memory_larger_than_a_page_is_listed ["L1, A5"],
        listing_is_stable_while_others_write ["L1"],
        a_cursor_that_is_deleted_still_holds ["L1"],
        count_follows_every_write ["L1"],
        gurus_are_those_with_profiles ["L1"],
        listing_can_be_by_the_time_of_change ["L1, S7"],
        a_stream_gives_every_profile_once ["L1"],
        a_memory_is_read_as_any_type ["L1, S14"],
        any_number_of_ids_can_be_asked_for_at_once ["L1, L2"],
        deleting_tells_what_was_there ["L2"],
        deleting_a_guru_tells_how_many_there_were ["L2"],
        everything_is_there_after_reopening ["S2, S9"],
    }
    selecting: {
        a_prefix_is_a_range_of_ids ["L1, L4"],
        a_filter_judges_the_stored_text ["L4"],
        wrong_filters_are_refused ["L4, P1"],
        a_filter_that_takes_little_reads_on ["L1, L4"],
        deleting_by_content_takes_what_matches ["L2, L4"],
        a_part_of_a_memory_is_read ["L4, S14"],
        a_large_profile_named_often_is_paid_for_once ["P1, L1, S6"],
    }
    upkeep: {
        sweeping_takes_what_is_old ["L2, S7"],
        what_changes_is_not_swept ["S7, L2"],
        stats_tell_what_is_there ["L1"],
        compacting_keeps_everything ["L3, S9"],
        a_healthy_store_says_so ["S2"],
        a_probe_leaves_no_trace ["S5"],
        a_sound_store_is_told_to_be_sound ["S12"],
    }
    transfer: {
        restoring_keeps_times_and_etags ["S7, A3"],
        restoring_again_changes_nothing ["S5"],
        what_is_newer_stays ["S7"],
        nothing_is_restored_over_the_last_moment ["S7"],
        what_does_not_fit_is_not_restored ["A5, S3"],
        copying_brings_everything ["S7, S8, L1"],
        copying_goes_on_where_it_stopped ["S5, S8"],
        copying_notices_a_source_that_is_written_to ["S9"],
        an_export_is_imported_to_the_byte ["A3, S7"],
        users_alone_are_exported_too ["A3"],
        a_bad_line_costs_no_good_one ["R2"],
    }
    sequences: {
        the_store_does_what_the_model_does ["R1–R3, A1–A4, W1–W6, S1–S9, S12, L1, L2, L4"],
    }
}

#[cfg(test)]
mod tests {
    use super::checks;

    const SOURCES: [&str; 14] = [
        include_str!("harness.rs"),
        include_str!("request.rs"),
        include_str!("admission.rs"),
        include_str!("response.rs"),
        include_str!("storing.rs"),
        include_str!("modes.rs"),
        include_str!("isolation.rs"),
        include_str!("concurrency.rs"),
        include_str!("executor.rs"),
        include_str!("reading.rs"),
        include_str!("selecting.rs"),
        include_str!("upkeep.rs"),
        include_str!("transfer.rs"),
        include_str!("sequences.rs"),
    ];

    /// Whatever `assert_eq` and `check_eq` do not say.
    #[test]
    fn failures_say_expected_and_got() {
        for assertion in SOURCES.concat().split("assert!(").skip(1) {
            let (assertion, _) = assertion.split_once(";\n").expect("an assertion is a statement");
            assert!(assertion.contains("expected") && assertion.contains("got"), "{assertion}");
        }
    }

    /// A check cites the same clauses where it is written and where it is listed.
    #[test]
    fn comments_and_list_cite_the_same_clauses() {
        let sources = SOURCES.concat();
        for check in checks() {
            let definition = format!("\npub(super) fn {}(", check.name);
            let (before, _) = sources.split_once(&definition).expect("every check is written here");
            let comment = before.rsplit('\n').next().unwrap_or_default();
            let cited = comment.trim_start_matches("/// ").split(['.', ':']).next();
            assert_eq!(cited, Some(check.clauses), "{}", check.name);
        }
    }
}
