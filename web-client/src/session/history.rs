//! Changes of the form that can be taken back.

use super::draft::Draft;
use super::field::Field;

/// Changes that are kept; the oldest leave first.
pub const UNDO_STEPS_MAX: usize = 50;

/// What was done to a draft, newest last.
#[derive(Clone, Debug, Default)]
pub struct History(Vec<Change>);

#[derive(Clone, Debug)]
struct Change {
    /// The one field that was written; `None` for a sweep over several.
    field: Option<Field>,
    before: Draft,
    after: Draft,
}

impl History {
    /// Keeps a change, of one field or sweeping over several. What is written into one field in a row is one change.
    pub fn record(&mut self, field: Option<Field>, before: Draft, after: &Draft) {
        if before == *after {
            return;
        }
        match self.0.last_mut() {
            Some(last) if field.is_some() && last.field == field && last.after == before => {
                last.after = after.clone();
            }
            _ => self.0.push(Change { field, before, after: after.clone() }),
        }
        if self.0.len() > UNDO_STEPS_MAX {
            self.0.remove(0);
        }
    }

    /// Takes the newest change back. What it did not touch stays as it is now, so that words written since are kept.
    pub fn undo(&mut self, draft: &mut Draft) {
        if let Some(change) = self.0.pop() {
            draft.restore(&change.before, &change.after);
        }
    }

    /// Whether the newest change swept over several fields.
    pub fn is_sweep(&self) -> bool {
        self.0.last().is_some_and(|last| last.field.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A draft with its history.
    #[derive(Default)]
    struct Form(Draft, History);

    impl Form {
        fn write(&mut self, field: Field, text: &str) {
            let before = self.0.clone();
            self.0.set(field, text);
            self.1.record(Some(field), before, &self.0);
        }

        fn sweep(&mut self, edit: impl FnOnce(&mut Draft)) {
            let before = self.0.clone();
            edit(&mut self.0);
            self.1.record(None, before, &self.0);
        }

        fn undo(&mut self) {
            self.1.undo(&mut self.0);
        }
    }

    #[test]
    fn a_sweep_is_taken_back_and_later_words_stay() {
        let mut form = Form::default();
        form.write(Field::Steps, "9");
        form.sweep(|draft| {
            draft.set(Field::Steps, "25");
            draft.add_lora("ink");
        });
        assert!(form.1.is_sweep());
        form.0.set(Field::Prompt, "a house");
        form.undo();
        assert_eq!((form.0.get(Field::Steps), form.0.get(Field::Prompt)), ("9", "a house"));
        assert!(form.0.loras().is_empty() && !form.1.is_sweep());
        form.undo();
        form.undo();
        assert_eq!((form.0.get(Field::Steps), form.0.get(Field::Prompt)), ("", "a house"));
    }

    #[test]
    fn letters_in_a_row_are_one_change() {
        let mut form = Form::default();
        for text in ["1", "12"] {
            form.write(Field::Steps, text);
        }
        form.write(Field::Seed, "7");
        form.write(Field::Steps, "13");
        form.write(Field::Steps, "13");
        for steps in ["12", "12", ""] {
            form.undo();
            assert_eq!(form.0.get(Field::Steps), steps);
        }
    }

    #[test]
    fn the_oldest_changes_leave() {
        let mut form = Form::default();
        for step in 0..=UNDO_STEPS_MAX {
            form.sweep(|draft| draft.set(Field::Steps, step.to_string()));
        }
        for _ in 0..=UNDO_STEPS_MAX {
            form.undo();
        }
        assert_eq!(form.0.get(Field::Steps), "0");
    }
}
