//! The page: Leptos views over a session.
//!
//! | file | what it holds |
//! |---|---|
//! | [`page`] | the frame around everything: header, connection, keys |
//! | [`form`] | prompt, examples, draw and cancel, faults |
//! | [`settings`] | everything below the prompt that shapes a picture |
//! | [`field`] | one labelled input of the form |
//! | [`stage`] | the picture that is shown, its progress and what can be done with it |
//! | [`canvas`] | its live preview, which survives a lost GPU |
//! | [`gallery`] | all pictures of this client, running ones included |
//! | [`status`] | one sentence on how things stand |
//! | [`unlock`] | the question for a token, where the worker asks for one |
//! | [`strings`] | every English word |
//!
//! # Invariants
//! * Views read the session and the draft and call [`App`]; they hold nothing that matters.
//! * The ids and `data-` attributes are a contract with the browser tests and with user scripts.

#![expect(unreachable_pub, reason = "#[component] writes its own `pub` on what it generates")]

mod canvas;
mod field;
mod form;
mod gallery;
mod icons;
mod page;
mod settings;
mod stage;
mod status;
mod strings;
mod unlock;

use leptos::prelude::*;
use sd_protocol::{ErrorDetail, ModelEntry};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::session::{Draft, Field, Job, Link, Misread, Selection, Session};
use crate::web::driver::Driver;
use crate::web::{errors, page as browser, pictures, storage};

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
    misread: RwSignal<Vec<Misread>>,
    shown: Memo<Option<Selection>>,
    job: Memo<Option<Job>>,
    model: Memo<Option<ModelEntry>>,
}

impl App {
    fn start() -> Self {
        let driver = Driver::start();
        let session = driver.session();
        let draft = RwSignal::new(storage::load::<Draft>(storage::DRAFT).unwrap_or_default());
        let catalogue = Memo::new(move |_| session.with(|s| s.worker().map(|worker| worker.catalogue.clone())));
        Effect::new(move |_| {
            catalogue.with(|catalogue| {
                if let Some(catalogue) = catalogue {
                    draft.update(|draft| draft.settle(catalogue));
                }
            });
        });
        Effect::new(move |_| draft.with(|draft| storage::save(storage::DRAFT, draft)));
        Self {
            driver,
            session,
            draft,
            misread: RwSignal::new(Vec::new()),
            shown: Memo::new(move |_| session.with(Session::shown)),
            job: Memo::new(move |_| session.with(|session| session.shown_job().cloned())),
            model: Memo::new(move |_| {
                catalogue.with(|catalogue| draft.with(|draft| draft.model(catalogue.as_ref()?).cloned()))
            }),
        }
    }

    /// The one that [`start`] provides.
    fn get() -> Self {
        expect_context()
    }

    fn submit(self) {
        if !self.can_submit() {
            return;
        }
        match self.draft.with_untracked(Draft::request) {
            Ok(request) => {
                self.misread.set(Vec::new());
                self.driver.act(|session| session.submit(request, browser::new_job_id()));
            }
            Err(misread) => self.misread.set(misread),
        }
    }

    /// Whether there was ever a worker: its defaults are then in the form, and a lost connection is repaired.
    fn can_submit(self) -> bool {
        self.session.with(|session| session.worker().is_some())
    }

    fn cancel(self) {
        if let Some(shown) = self.shown.get_untracked() {
            self.driver.act(|session| session.cancel(&shown.job));
        }
    }

    fn can_cancel(self) -> bool {
        self.job.with(|job| job.as_ref().is_some_and(|job| !job.ended()))
    }

    fn set(self, field: Field, text: impl Into<String>) {
        self.draft.update(|draft| draft.set(field, text));
    }

    /// Takes a name of the catalogue, and with it what goes with that name.
    fn choose(self, field: Field, name: impl Into<String>) {
        self.session.with_untracked(|session| {
            if let Some(worker) = session.worker() {
                self.draft.update(|draft| draft.choose(field, name, &worker.catalogue));
            }
        });
    }

    fn text(self, field: Field) -> String {
        self.draft.with(|draft| draft.get(field).to_owned())
    }

    /// What is wrong with the form: what cannot be read here, or else what the worker refused; without a field
    /// where it refused the whole.
    fn faults(self) -> Vec<ErrorDetail> {
        let misread = self.misread.with(|misread| {
            let detail = |m: &Misread| ErrorDetail {
                field: m.field.name().to_owned(),
                message: strings::expected(m.expected).to_owned(),
            };
            misread.iter().map(detail).collect::<Vec<_>>()
        });
        if !misread.is_empty() {
            return misread;
        }
        self.session.with(|session| match session.rejection() {
            Some(error) if error.details.is_empty() => {
                vec![ErrorDetail { field: String::new(), message: error.message.clone() }]
            }
            Some(error) => error.details.clone(),
            None => Vec::new(),
        })
    }

    fn fault_of(self, field: Field) -> Option<String> {
        self.faults().into_iter().find(|fault| fault.field == field.name()).map(|fault| fault.message)
    }

    /// The address under which an `<img>` can load a picture of the worker.
    fn source(self, url: impl Fn() -> Option<String> + 'static) -> ReadSignal<Option<String>> {
        pictures::source(self.session, url)
    }

    fn link(self) -> Link {
        self.session.with(Session::link)
    }
}
