//! The way of a request to the worker, its pictures first.

use leptos::prelude::*;
use leptos::task::spawn_local;
use sd_protocol::{JobId, JobRequest};

use super::super::parts::{effect, memo};
use super::super::{App, strings};
use crate::editor::{Document, Rect, job};
use crate::session::Session;
use crate::web::files::File;
use crate::web::picture::{Picture, PictureError};
use crate::web::pictures::Copy;
use crate::web::uploads::UploadError;
use crate::web::{errors, uploads, window};

/// Pictures that are shown as "before" without being fetched again.
const COPIES_MAX: usize = 8;

/// What was uploaded of the present picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What is in a frame.
    Image(Rect),
    /// Its mask, as of a revision.
    Mask(Rect, u64),
}

/// The uploads of the present picture, and copies of what was sent.
#[derive(Default)]
pub(super) struct Uploads {
    ids: Vec<(Part, String)>,
    copies: Vec<(String, Copy)>,
    /// The request that named uploads of earlier, to be sent again should they be gone.
    reused: Option<JobRequest>,
    /// Counts requests on their way.
    turn: u32,
}

impl Uploads {
    /// Forgets the uploads; what was sent can still be shown.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
    }

    fn id(&self, part: Part) -> Option<String> {
        self.ids.iter().find(|(of, _)| *of == part).map(|(_, id)| id.clone())
    }

    fn note(&mut self, part: Part, id: String, file: &File) {
        if let Part::Image(_) = part
            && !self.copies.iter().any(|(of, _)| *of == id)
            && let Ok(copy) = Copy::of(file)
        {
            if self.copies.len() == COPIES_MAX {
                self.copies.remove(0);
            }
            self.copies.push((id.clone(), copy));
        }
        // One mask at a time: an older one is not asked for again.
        self.ids.retain(|(of, _)| !matches!((of, part), (Part::Mask(..), Part::Mask(..))));
        self.ids.push((part, id));
    }
}

/// A picture that a request names, and its file where it is not on the worker yet.
struct Needed {
    part: Part,
    id: Option<String>,
    picture: Option<Picture>,
}

impl App {
    /// Draws what the form and the editor describe.
    pub(in crate::app) fn submit(self) {
        if self.submit_as(|request| request, |_| ()) {
            self.editor.show_result();
        }
    }

    /// Draws what they describe and `adjust` makes of it; `then` hears the name of the job. Returns whether the form can
    /// be read.
    pub(in crate::app) fn submit_as(
        self,
        adjust: impl FnOnce(JobRequest) -> JobRequest,
        then: impl FnOnce(JobId),
    ) -> bool {
        if !self.can_submit() {
            return false;
        }
        let limits = self.limits();
        self.draft.update(|draft| draft.snap(&limits));
        let request = self.draft.read_untracked().request(&limits);
        match request {
            Ok(request) => {
                self.misread.set(Vec::new());
                let id = window::new_job_id();
                self.send(adjust(request), id.clone());
                then(id);
                true
            }
            Err(misread) => {
                self.misread.set(misread);
                false
            }
        }
    }

    /// Sends what was refused because its pictures had left the worker once more, with the pictures.
    pub(in crate::app) fn watch_uploads(self) {
        let gone = memo(move || self.session.read().rejection().is_some_and(job::is_upload_gone));
        effect(move || {
            if !gone.get() {
                return;
            }
            let again = self.editor.uploads.try_update_value(|uploads| {
                uploads.clear();
                uploads.reused.take()
            });
            if let Some(request) = again.flatten() {
                self.send(request, window::new_job_id());
            }
        });
    }

    /// Sends a request after its pictures. While those are on their way, a request of a lane gives way to a newer one, as
    /// it would on the worker.
    fn send(self, request: JobRequest, id: JobId) {
        let editor = self.editor;
        editor.fault.set(None);
        let turn = editor.uploads.try_update_value(|uploads| {
            uploads.turn = uploads.turn.wrapping_add(1);
            uploads.turn
        });
        let mut complete = request.clone();
        job::complete(&mut complete, editor.document.read_untracked().as_ref());
        let needed = match self.needed() {
            Ok(needed) if needed.is_empty() => {
                editor.uploads.update_value(|uploads| uploads.reused = None);
                self.driver.act(|session| session.submit(complete, id));
                return;
            }
            Ok(needed) => needed,
            Err(fault) => return self.tell(&fault.into()),
        };
        editor.sending.update(|sending| *sending += 1);
        spawn_local(async move {
            let reuses = needed.iter().any(|part| part.id.is_some());
            let uploaded = self.upload_all(needed, &mut complete).await;
            editor.sending.update(|sending| *sending -= 1);
            if let Err(fault) = uploaded {
                return self.tell(&fault);
            }
            let is_newest = editor.uploads.try_with_value(|uploads| uploads.turn) == turn;
            if is_newest || complete.lane.is_none() {
                editor.uploads.update_value(|uploads| uploads.reused = reuses.then_some(request));
                self.driver.act(|session: &mut Session| session.submit(complete, id));
            }
        });
    }

    /// The pictures of a request, cut out as they are now.
    fn needed(self) -> Result<Vec<Needed>, PictureError> {
        let editor = self.editor;
        let Some(picture) = editor.picture.get_value() else { return Ok(Vec::new()) };
        let document = editor.document.read_untracked();
        let Some(document) = document.as_ref() else { return Ok(Vec::new()) };
        let crop = document.frame().crop(document.size());
        let mut parts = vec![Part::Image(crop)];
        if document.is_masked() {
            parts.push(Part::Mask(crop, document.revision()));
        }
        let need = |part: Part| {
            let id = editor.uploads.with_value(|uploads| uploads.id(part));
            let cut = || match part {
                Part::Image(crop) => picture.part(crop),
                Part::Mask(crop, _) => Picture::of_mask(document.mask(), crop),
            };
            let picture = id.is_none().then(cut).transpose()?;
            Ok(Needed { part, id, picture })
        };
        parts.into_iter().map(need).collect()
    }

    async fn upload_all(self, needed: Vec<Needed>, request: &mut JobRequest) -> Result<(), Fault> {
        for part in needed {
            let is_mask = matches!(part.part, Part::Mask(..));
            let id = self.upload(part).await?;
            *(if is_mask { &mut request.mask } else { &mut request.image }) = Some(id);
        }
        Ok(())
    }

    async fn upload(self, needed: Needed) -> Result<String, Fault> {
        let Needed { part, id, picture } = needed;
        let (None, Some(picture)) = (&id, picture) else { return Ok(id.unwrap_or_default()) };
        let serial = self.editor.serial.get_untracked();
        let file = picture.png().await?;
        let token = self.session.read_untracked().token().cloned();
        let id = uploads::upload(&file, token.as_ref()).await?;
        if self.editor.serial.get_untracked() == serial {
            self.editor.uploads.update_value(|uploads| uploads.note(part, id.clone(), &file));
        }
        Ok(id)
    }

    /// Brings the whole picture to the worker, from where the next visit gets it.
    pub(super) async fn send_picture(self) {
        let whole = self.editor.document.read_untracked().as_ref().map(Document::size);
        let (Some(size), Some(picture)) = (whole, self.editor.picture.get_value()) else { return };
        let part = Rect::whole(size);
        let sent = match picture.part(part) {
            Ok(picture) => self.upload(Needed { part: Part::Image(part), id: None, picture: Some(picture) }).await,
            Err(fault) => Err(fault.into()),
        };
        match sent {
            Ok(_) => self.remember_picture(),
            // It is tried again, and told of, when a job needs it.
            Err(fault) => errors::warn(&fault),
        }
    }

    /// The id of the upload that holds all of the picture.
    pub(super) fn whole_picture_id(self) -> Option<String> {
        let size = self.editor.document.read_untracked().as_ref().map(Document::size)?;
        self.editor.uploads.with_value(|uploads| uploads.id(Part::Image(Rect::whole(size))))
    }

    /// The upload of an earlier visit, which is there still.
    pub(super) fn note_whole_picture(self, id: String, file: &File) {
        if let Some(size) = self.editor.document.read_untracked().as_ref().map(Document::size) {
            self.editor.uploads.update_value(|uploads| uploads.note(Part::Image(Rect::whole(size)), id, file));
        }
    }

    /// Where a picture that was sent can be seen.
    pub(super) fn copy_of(self, id: &str) -> Option<String> {
        self.editor
            .uploads
            .with_value(|uploads| uploads.copies.iter().find(|(of, _)| of == id).map(|(_, copy)| copy.url().to_owned()))
    }

    fn tell(self, fault: &Fault) {
        errors::warn(fault);
        let text = match fault {
            Fault::Upload(UploadError::Refused(sentence)) => strings::not_sent(sentence),
            Fault::Upload(UploadError::Lost(_)) => strings::not_sent(strings::NOT_SENT_LOST),
            Fault::Picture(_) => strings::NO_PICTURE.to_owned(),
        };
        self.editor.fault.set(Some(text));
    }
}

/// Why a request was not sent.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the picture cannot be used")]
    Picture(#[from] PictureError),
    #[error("the picture did not reach the worker")]
    Upload(#[from] UploadError),
}
