//! Orders that can be told by hand.

use super::Turns;

/// Pushes `owner priority work name` and expects the names in this order, told beforehand and taken.
fn check(pushed: &[(&str, i32, u64, &'static str)], expect: &[&str]) {
    let mut turns = Turns::default();
    for (owner, priority, work, name) in pushed {
        let owner = (!owner.is_empty()).then(|| (*owner).into());
        turns.push(owner, *priority, *work, *name);
    }
    assert_eq!(turns.len(), pushed.len());
    assert_eq!(turns.in_order().into_iter().copied().collect::<Vec<_>>(), expect, "as told");
    assert_eq!(std::iter::from_fn(|| turns.pop(|_| true)).collect::<Vec<_>>(), expect, "as taken");
}

#[test]
fn one_owner_waits_in_line_by_priority() {
    check(
        &[("", 0, 5, "a"), ("", 0, 5, "b"), ("", 3, 5, "c"), ("", -3, 5, "d"), ("", 3, 5, "e")],
        &["c", "e", "a", "b", "d"],
    );
}

#[test]
fn owners_take_turns_by_work() {
    check(
        &[("ann", 0, 1, "a1"), ("ann", 0, 1, "a2"), ("ann", 0, 1, "a3"), ("bob", 0, 1, "b1")],
        &["a1", "b1", "a2", "a3"],
    );
    check(
        &[("ann", 0, 4, "a1"), ("ann", 0, 4, "a2"), ("bob", 0, 2, "b1"), ("bob", 0, 2, "b2"), ("bob", 0, 2, "b3")],
        &["a1", "b1", "b2", "a2", "b3"],
    );
}

#[test]
fn a_priority_is_no_way_past_other_owners() {
    check(
        &[("ann", 0, 1, "a1"), ("bob", 10, 1, "b1"), ("bob", 10, 1, "b2"), ("ann", 0, 1, "a2")],
        &["a1", "b1", "b2", "a2"],
    );
}

#[test]
fn nobody_saves_up_turns() {
    let mut turns = Turns::default();
    for name in ["a1", "a2", "a3", "a4"] {
        turns.push(Some("ann".into()), 0, 1, name);
    }
    assert_eq!((turns.pop(|_| true), turns.pop(|_| true)), (Some("a1"), Some("a2")));
    for name in ["b1", "b2"] {
        turns.push(Some("bob".into()), 0, 1, name);
    }
    assert_eq!(turns.in_order(), [&"b1", &"a3", &"b2", &"a4"]);
    assert_eq!(turns.remove(|name| *name == "b1"), Some("b1"));
    assert_eq!(turns.remove(|name| *name == "b1"), None);
    let mut rest = turns.drain();
    rest.sort_unstable();
    assert_eq!(rest, ["a3", "a4", "b2"]);
    assert_eq!(turns.pop(|_| true), None);
}

#[test]
fn whoever_may_not_go_is_passed_over() {
    let mut turns = Turns::default();
    for (owner, name) in [("ann", "a1"), ("ann", "a2"), ("bob", "b1")] {
        turns.push(Some(owner.into()), 0, 1, name);
    }
    assert_eq!((turns.len_of(Some(&"ann".into())), turns.len_of(Some(&"bob".into())), turns.len_of(None)), (2, 1, 0));
    assert_eq!(turns.pop(|name| name.starts_with('b')), Some("b1"));
    assert_eq!(turns.pop(|name| name.starts_with('b')), None);
    assert_eq!(turns.pop(|_| true), Some("a1"));
}

#[test]
fn a_changed_priority_moves_one_item_within_its_line() {
    let mut turns = Turns::default();
    for (owner, name) in [("ann", "a1"), ("ann", "a2"), ("ann", "a3"), ("bob", "b1"), ("bob", "b2")] {
        turns.push(Some(owner.into()), 0, 1, name);
    }
    let mut check = |name: &'static str, priority: i32, expect: [&str; 5]| {
        assert!(turns.set_priority(|item| *item == name, priority));
        assert_eq!(turns.in_order().into_iter().copied().collect::<Vec<_>>(), expect, "{name} at {priority}");
    };
    check("a3", 1, ["a3", "b1", "a1", "b2", "a2"]);
    check("a2", 1, ["a2", "b1", "a3", "b2", "a1"]);
    check("a2", 0, ["a3", "b1", "a1", "b2", "a2"]);
    check("a3", 0, ["a1", "b1", "a2", "b2", "a3"]);
    check("b1", -10, ["a1", "b2", "a2", "b1", "a3"]);
    assert!(!turns.set_priority(|item| *item == "c1", 3));
    assert_eq!(turns.len(), 5);
}
