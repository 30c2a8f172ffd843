//! The page: Leptos views over a session.
//!
//! | file | what it holds |
//! |---|---|
//! | [`page`] | the frame around everything: header and connection |
//! | [`form`] | prompts and their tokens, draw, cancel and undo, faults |
//! | [`settings`] | everything below the prompt that shapes a picture |
//! | [`adapters`] | what changes a model: LoRAs, embeddings, the refiner |
//! | [`field`] | one labelled input of the form |
//! | [`parts`] | parts of views that are compiled once |
//! | [`keys`] | the keys of the page, and the list of them |
//! | [`editor`] | the picture that a job starts from, and the way of a request to the worker |
//! | [`stage`] | the picture that is shown, its progress and what can be done with it |
//! | [`canvas`] | its live preview, which survives a lost GPU |
//! | [`batch`] | every picture of a batch |
//! | [`live`] | drawing while things change |
//! | [`queue`] | what is drawn and what waits, of this page and of others |
//! | [`gallery`] | the pictures in the worker's store |
//! | [`status`] | one sentence on how things stand |
//! | [`unlock`] | the question for a token, where the worker asks for one |
//! | [`strings`] | every English word |
//!
//! # Invariants
//! * Views read the session and the draft and call [`App`]; they hold nothing that matters.
//! * The ids and `data-` attributes are a contract with the browser tests and with user scripts.

#![expect(unreachable_pub, reason = "#[component] writes its own `pub` on what it generates")]

mod adapters;
mod batch;
mod canvas;
mod editor;
mod field;
mod form;
mod gallery;
mod icons;
mod keys;
mod live;
mod page;
mod parts;
mod queue;
mod settings;
mod stage;
mod status;
mod strings;
mod unlock;

use leptos::prelude::*;
use sd_protocol::{Catalogue, Limits, ModelEntry, NamedEntry};
use wasm_bindgen::prelude::wasm_bindgen;

use self::editor::Editor;
use self::parts::{effect, memo};
use crate::session::{Draft, Field, History, Job, Link, Misread, Selection, Session};
use crate::web::canvas::Backend;
use crate::web::driver::Driver;
use crate::web::{errors, pictures, storage, window};

/// Time between the end of writing in a field and a word on what is wrong there, in milliseconds.
const REVIEW_DELAY_MS: u32 = 300;

/// Puts the page into the document and connects to the worker that served it.
#[wasm_bindgen]
pub fn start() {
    errors::report_panics();
    leptos::mount::mount_to_body(|| {
        provide_context(App::start());
        view! { <page::Page/> }
    });
}

/// What every view works on.
#[derive(Clone, Copy)]
struct App {
    driver: Driver,
    session: RwSignal<Session>,
    draft: RwSignal<Draft>,
    history: RwSignal<History>,
    /// Whether the prompt that was written in last is the negative one.
    is_negative: RwSignal<bool>,
    catalogue: Memo<Option<Catalogue>>,
    misread: RwSignal<Vec<Misread>>,
    shown: Memo<Option<Selection>>,
    job: Memo<Option<Job>>,
    model: Memo<Option<ModelEntry>>,
    backend: RwSignal<Option<Backend>>,
    editor: Editor,
}

impl App {
    fn start() -> Self {
        let driver = Driver::start();
        let session = driver.session();
        let draft = RwSignal::new(storage::load(storage::DRAFT).map(|kept| Draft::restored(&kept)).unwrap_or_default());
        let catalogue = memo(move || session.read().worker().map(|worker| worker.catalogue.clone()));
        effect(move || {
            if let Some(catalogue) = &*catalogue.read() {
                draft.update(|draft| draft.settle(catalogue));
            }
        });
        effect(move || storage::save(storage::DRAFT, &draft.read().kept()));
        let app = Self {
            driver,
            session,
            draft,
            history: RwSignal::default(),
            is_negative: RwSignal::new(false),
            catalogue,
            misread: RwSignal::new(Vec::new()),
            shown: memo(move || session.read().shown()),
            job: memo(move || session.read().shown_job().cloned()),
            model: memo(move || draft.read().model(catalogue.read().as_ref()?).cloned()),
            backend: RwSignal::new(None),
            editor: Editor::new(),
        };
        app.keep_picture();
        app.watch_uploads();
        app
    }

    /// The one that [`start`] provides.
    fn get() -> Self {
        expect_context()
    }

    /// Whether there was ever a worker: its defaults are then in the form, and a lost connection is repaired.
    fn can_submit(self) -> bool {
        self.session.read().worker().is_some()
    }

    fn cancel(self) {
        if let Some(shown) = self.shown.get_untracked() {
            self.driver.act(|session| session.cancel(&shown.job));
        }
    }

    fn can_cancel(self) -> bool {
        self.job.read().as_ref().is_some_and(|job| !job.ended())
    }

    fn limits(self) -> Limits {
        self.session.read_untracked().worker().map(|worker| worker.limits.clone()).unwrap_or_default()
    }

    fn set(self, field: Field, text: impl Into<String>) {
        self.change(Some(field), |draft| draft.set(field, text));
    }

    /// Takes a name of the catalogue, and with it what goes with that name.
    fn choose(self, field: Field, name: String) {
        if let Some(catalogue) = self.catalogue.get_untracked() {
            let alone = Some(field).filter(|field| *field != Field::Model);
            self.change(alone, |draft| draft.choose(field, name, &catalogue));
        }
    }

    /// Changes one field of the form, or sweeps over several.
    fn change(self, field: Option<Field>, edit: impl FnOnce(&mut Draft)) {
        let before = self.draft.get_untracked();
        let mut after = before.clone();
        edit(&mut after);
        self.write(field, before, after);
    }

    fn write(self, field: Option<Field>, before: Draft, after: Draft) {
        self.history.update(|history| history.record(field, before, &after));
        self.put(after);
    }

    /// Takes the newest change back.
    fn undo(self) {
        let mut draft = self.draft.get_untracked();
        self.history.update(|history| history.undo(&mut draft));
        self.put(draft);
    }

    fn put(self, draft: Draft) {
        // What is right again is said to be wrong no longer; what is being written is not judged yet.
        if !self.misread.read_untracked().is_empty() {
            let now = draft.misread(&self.limits());
            self.misread.update(|misread| misread.retain(|fault| now.contains(fault)));
        }
        self.draft.set(draft);
    }

    /// The person is done with a field: rounds what it holds, and soon looks at all numbers.
    fn leave(self, field: Field, text: String) {
        let limits = self.limits();
        self.change(Some(field), |draft| {
            draft.set(field, text);
            draft.snap(&limits);
        });
        // A press of the mouse may have ended the writing. What it aims at must not move away under it.
        window::after(REVIEW_DELAY_MS, move || {
            self.misread.set(self.draft.read_untracked().misread(&limits));
        });
    }

    /// The seed of the picture that is shown.
    fn shown_seed(self) -> Option<u64> {
        let index = self.shown.read().as_ref().map(|shown| shown.index)?;
        let job = self.job.read();
        let job = job.as_ref()?;
        job.image(index).map(|image| image.seed).or_else(|| Some(job.request.seed? + u64::from(index)))
    }

    fn text(self, field: Field) -> String {
        self.draft.read().get(field).to_owned()
    }

    /// What is wrong with the form: what cannot be read here, or else what the worker refused.
    fn faults(self) -> Vec<Fault> {
        let misread =
            |m: &Misread| Fault { field: Some(m.field), name: String::new(), message: strings::expected(m.expected) };
        let misread: Vec<_> = self.misread.read().iter().map(misread).collect();
        if !misread.is_empty() {
            return misread;
        }
        if let Some(message) = self.editor.fault.get() {
            return vec![Fault { field: None, name: String::new(), message }];
        }
        match self.session.read().rejection() {
            Some(error) if error.details.is_empty() => {
                vec![Fault { field: None, name: String::new(), message: error.message.clone() }]
            }
            Some(error) => {
                let details = error.details.iter().cloned();
                details
                    .map(|detail| Fault {
                        field: Field::parse(&detail.field),
                        name: detail.field,
                        message: detail.message,
                    })
                    .collect()
            }
            None => Vec::new(),
        }
    }

    fn fault_of(self, field: Field) -> Option<String> {
        self.faults().into_iter().find(|fault| fault.field == Some(field)).map(|fault| fault.message)
    }

    /// The address under which an `<img>` can load a picture of the worker.
    fn source(self, url: impl Fn() -> Option<String> + 'static) -> ReadSignal<Option<String>> {
        pictures::source(self.session, url)
    }

    fn link(self) -> Link {
        self.session.read().link()
    }
}

/// A name that speaks for itself.
fn named(name: &str) -> NamedEntry {
    NamedEntry { name: name.to_owned(), label: name.to_owned() }
}

/// What is wrong with the form.
#[derive(Clone, PartialEq)]
struct Fault {
    /// Where, if it is a field of the form.
    field: Option<Field>,
    /// What the worker calls the field.
    name: String,
    message: String,
}
