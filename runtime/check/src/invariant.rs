//! One file for each invariant: what it means for a user, and how a history is held against it.

mod i01_nothing_lost;

mod i02_nothing_made_up;

mod i03_one_event_an_offset;

mod i04_acks_are_true;

mod i05_publisher_order;

mod i06_real_time_order;

mod i07_delivered_is_stored;

mod i08_key_order;

mod i09_floor;

mod i10_attempts;

mod i11_fencing;

mod i12_effects;

mod i13_repeats;

mod i14_digests;

mod i15_terms;

mod i16_durable_first;

mod i17_whole_again;

mod i19_errors;

mod i20_coverage;

use crate::facts::Facts;
use crate::findings::Findings;

/// Holds a history against all of them, in order.
pub(crate) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    i01_nothing_lost::judge(facts, findings);
    i02_nothing_made_up::judge(facts, findings);
    i03_one_event_an_offset::judge(facts, findings);
    i04_acks_are_true::judge(facts, findings);
    i05_publisher_order::judge(facts, findings);
    i06_real_time_order::judge(facts, findings);
    i07_delivered_is_stored::judge(facts, findings);
    i08_key_order::judge(facts, findings);
    i09_floor::judge(facts, findings);
    i10_attempts::judge(facts, findings);
    i11_fencing::judge(facts, findings);
    i12_effects::judge(facts, findings);
    i13_repeats::judge(facts, findings);
    i14_digests::judge(facts, findings);
    i15_terms::judge(facts, findings);
    i16_durable_first::judge(facts, findings);
    i17_whole_again::judge(facts, findings);
    i19_errors::judge(facts, findings);
    i20_coverage::judge(facts, findings);
}
