//! The picture that a job starts from: brought, painted over, framed, sent.
//!
//! | file | what it holds |
//! |---|---|
//! | [`card`] | its place in the form: choosing a picture, how much of it changes |
//! | [`surface`] | the picture on the stage, under the brush and the handles |
//! | [`tools`] | the tools below it, and the same by numbers |
//! | [`compare`] | before and after, over a finished picture |
//! | [`sending`] | the way of a request to the worker, its pictures first |
//!
//! # Invariants
//! * What is painted lives in a [`Document`]; views show it and call [`App`].
//! * Nothing is lost when something fails: the document stays until another picture is brought.

pub(super) mod card;
pub(super) mod compare;
mod sending;
pub(super) mod surface;
pub(super) mod tools;

use std::rc::Rc;

use leptos::prelude::*;
use leptos::task::spawn_local;

use self::sending::Uploads;
use super::parts::{effect, memo};
use super::{App, strings};
use crate::editor::{Document, Edit, Imported, Ink, Rect};
use crate::session::Field;
use crate::web::files::File;
use crate::web::picture::Picture;
use crate::web::{errors, fetch, storage};

/// Share of the longer side of a picture that a new brush is wide.
const BRUSH: u32 = 10;

/// What the pointer does on the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// Paints the mask, or rubs it out.
    Brush(Ink),
    /// Pulls the frame.
    Frame,
}

/// What is in the hand of the person.
#[derive(Clone, Copy, Debug)]
struct Hand {
    tool: Tool,
    /// Diameter in px of the picture.
    brush: u32,
    /// What the screen shows while the frame is pulled, so that it does not move under the pointer.
    held: Option<Rect>,
}

/// What the stage shows, where there is a picture to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// That picture, under the brush.
    Input,
    /// Both side by side.
    Both,
    /// What came of it.
    Result,
}

impl Sight {
    /// The name in ids and in the style sheet.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Both => "both",
            Self::Result => "result",
        }
    }
}

/// What the views of the editor share.
#[derive(Clone, Copy)]
pub(super) struct Editor {
    /// What is painted; none while there is no picture.
    pub(super) document: RwSignal<Option<Document>>,
    /// Which picture, and which state of its document: changes with every finished edit, as live drawing needs it.
    pub(super) revision: Memo<(u32, u64)>,
    pub(super) sight: RwSignal<Sight>,
    /// Requests whose pictures are on their way to the worker.
    pub(super) sending: RwSignal<u32>,
    /// What the newest file says of how it was made, until somebody decides.
    offer: RwSignal<Option<Imported>>,
    /// Why a picture could not be read or sent.
    pub(super) fault: RwSignal<Option<String>>,
    hand: RwSignal<Hand>,
    picture: StoredValue<Option<Rc<Picture>>, LocalStorage>,
    serial: RwSignal<u32>,
    uploads: StoredValue<Uploads, LocalStorage>,
}

impl Editor {
    pub(super) fn new() -> Self {
        let (document, serial) = (RwSignal::new(None::<Document>), RwSignal::new(0));
        Self {
            document,
            revision: memo(move || (serial.get(), document.read().as_ref().map_or(0, Document::revision))),
            sight: RwSignal::new(Sight::Result),
            sending: RwSignal::new(0),
            offer: RwSignal::new(None),
            fault: RwSignal::new(None),
            hand: RwSignal::new(Hand { tool: Tool::Brush(Ink::Paint), brush: 1, held: None }),
            picture: StoredValue::new_local(None),
            serial,
            uploads: StoredValue::new_local(Uploads::default()),
        }
    }

    /// What `read` finds in the document.
    pub(super) fn read<T: Default>(self, read: impl FnOnce(&Document) -> T) -> T {
        self.document.read().as_ref().map(read).unwrap_or_default()
    }

    /// The same, without asking to be told of changes.
    fn read_now<T: Default>(self, read: impl FnOnce(&Document) -> T) -> T {
        self.document.read_untracked().as_ref().map(read).unwrap_or_default()
    }

    /// Whether there is a picture.
    pub(super) fn has_picture(self) -> bool {
        self.document.read().is_some()
    }

    /// What is on the stage.
    pub(super) fn shown(self) -> Sight {
        if self.has_picture() { self.sight.get() } else { Sight::Result }
    }

    /// Brings the result on the stage.
    pub(super) fn show_result(self) {
        self.sight.update(|sight| {
            if *sight == Sight::Input {
                *sight = Sight::Result;
            }
        });
    }

    /// What of the picture, and of what lies around it, is on the screen.
    pub(super) fn view(self) -> Rect {
        let Hand { tool, held, .. } = self.hand.get();
        held.unwrap_or_else(|| self.read(|document| document.frame().view(document.size(), tool == Tool::Frame)))
    }

    /// Asks to be told of another picture.
    pub(super) fn track_picture(self) {
        self.serial.track();
    }

    fn update(self, update: impl FnOnce(&mut Document)) {
        self.document.update(|document| {
            if let Some(document) = document {
                update(document);
            }
        });
    }

    fn put(self, picture: Picture, document: Document) {
        let (width, height) = document.size();
        self.hand.set(Hand { tool: Tool::Brush(Ink::Paint), brush: (width.max(height) / BRUSH).max(4), held: None });
        self.uploads.update_value(Uploads::clear);
        self.picture.set_value(Some(Rc::new(picture)));
        self.document.set(Some(document));
        self.serial.update(|serial| *serial += 1);
        self.fault.set(None);
    }
}

impl App {
    /// Takes a file of a person as the picture to start from, and offers what it says of how it was made.
    pub(super) fn put_picture(self, file: File) {
        spawn_local(async move {
            let imported = fetch::bytes_of(&file).await.ok().and_then(|bytes| Imported::read(&bytes));
            self.start_from(file, imported).await;
        });
    }

    async fn start_from(self, file: File, offer: Option<Imported>) {
        let editor = self.editor;
        match Picture::decode(&file).await {
            Ok(picture) => {
                let document = Document::new(picture.size());
                editor.put(picture, document);
                editor.offer.set(offer);
                editor.sight.set(Sight::Input);
                self.fit_size();
                // Sent ahead: the first job then only waits for its mask.
                self.send_picture().await;
            }
            Err(fault) => {
                errors::warn(&fault);
                editor.fault.set(Some(strings::NO_PICTURE.to_owned()));
            }
        }
    }

    /// Takes a picture of the worker as the one to start from.
    pub(super) fn put_result(self, url: String) {
        spawn_local(async move {
            let token = self.session.read_untracked().token().cloned();
            match fetch::blob(&url, token.as_ref()).await {
                Ok(file) => self.start_from(file, None).await,
                Err(fault) => {
                    errors::warn(&fault);
                    self.editor.fault.set(Some(strings::NO_PICTURE.to_owned()));
                }
            }
        });
    }

    /// Draws without a picture again.
    pub(super) fn remove_picture(self) {
        self.editor.document.set(None);
        self.editor.serial.update(|serial| *serial += 1);
        self.editor.picture.set_value(None);
        self.editor.offer.set(None);
    }

    /// Takes over how the newest file was made, and with it the seed.
    fn take_offer(self, with_picture: bool) {
        let Some(imported) = self.editor.offer.get_untracked() else { return };
        if let Some(catalogue) = self.catalogue.get_untracked() {
            self.change(None, |draft| {
                draft.fill(&imported.request(&catalogue), true);
                draft.settle(&catalogue);
            });
        }
        self.editor.offer.set(None);
        if !with_picture {
            self.remove_picture();
        }
    }

    /// Changes the document; another frame brings another size of the job.
    fn edit(self, edit: impl FnOnce(&mut Document)) {
        let before = self.editor.read_now(Document::frame);
        self.editor.update(edit);
        if self.editor.read_now(Document::frame) != before {
            self.fit_size();
        }
    }

    fn apply(self, edit: Edit) {
        self.edit(|document| document.apply(edit));
    }

    fn fit_size(self) {
        let native = self.model.read_untracked().as_ref().map(|model| (model.defaults.width, model.defaults.height));
        let size = self
            .editor
            .document
            .read_untracked()
            .as_ref()
            .zip(native)
            .map(|(document, native)| document.job_size(native));
        if let Some((width, height)) = size {
            self.change(Some(Field::Width), |draft| {
                draft.set(Field::Width, width.to_string());
                draft.set(Field::Height, height.to_string());
            });
        }
    }

    /// Keeps the document for the next visit, and brings back that of the last one.
    pub(super) fn keep_picture(self) {
        let editor = self.editor;
        let remembered = StoredValue::new(storage::load(storage::PICTURE));
        let is_connected = memo(move || self.can_submit());
        effect(move || {
            // Somebody may have been quicker.
            if !is_connected.get() || editor.serial.get_untracked() > 0 {
                return;
            }
            if let Some(remembered) = remembered.try_update_value(Option::take).flatten() {
                spawn_local(self.restore(remembered));
            }
        });
        effect(move || {
            editor.revision.track();
            // Not before there was a picture: that of the last visit is still looked for.
            if editor.serial.get_untracked() > 0 {
                self.remember_picture();
            }
        });
    }

    fn remember_picture(self) {
        let image = self.whole_picture_id();
        let kept = self.editor.document.read_untracked().as_ref().map(Document::kept);
        // The upload with the picture, and under it the edits.
        let remembered = image.zip(kept).map(|(image, kept)| [image, kept].join("\n"));
        storage::save(storage::PICTURE, &remembered.unwrap_or_default());
    }

    async fn restore(self, remembered: String) {
        let Some((image, kept)) = remembered.split_once('\n') else { return };
        let token = self.session.read_untracked().token().cloned();
        let url = ["/v1/uploads/", image].concat();
        let Ok(file) = fetch::blob(&url, token.as_ref()).await else { return };
        // Somebody may have been quicker.
        if let Ok(picture) = Picture::decode(&file).await
            && self.editor.serial.get_untracked() == 0
        {
            let document = Document::restored(picture.size(), kept);
            self.editor.put(picture, document);
            self.note_whole_picture(image.to_owned(), &file);
            // What was drawn of it is the news, if there is anything.
            if self.job.read_untracked().is_none() {
                self.editor.sight.set(Sight::Input);
            }
        }
    }
}
