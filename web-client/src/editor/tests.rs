use sd_protocol::{
    Catalogue, ErrorBody, ErrorDetail, InpaintRequest, JobRequest, LoraRequest, NamedEntry, OutpaintRequest,
    SchedulerEntry,
};

use super::job::{complete, is_upload_gone};
use super::*;

/// The mask as a picture of letters: what is drawn anew, what is on its edge, what stays.
fn drawn(document: &Document) -> String {
    let letter = |&level: &u8| match level {
        0 => '.',
        u8::MAX => '#',
        _ => '+',
    };
    let width = document.size().0 as usize;
    let rows = document.mask().levels().chunks(width).map(|row| row.iter().map(letter).collect::<String>());
    rows.collect::<Vec<_>>().join("\n")
}

fn stroke(document: &mut Document, ink: Ink, diameter: f32, points: &[(f32, f32)]) {
    let mut points = points.iter().map(|&(x, y)| Point::new(x, y, diameter, None));
    document.press(ink, points.next().expect("a stroke begins somewhere"));
    points.for_each(|point| document.draw(point));
    document.release();
}

fn check(size: (u32, u32), edit: impl FnOnce(&mut Document), expected: &[&str]) {
    let mut document = Document::new(size);
    edit(&mut document);
    assert_eq!(drawn(&document), expected.join("\n"));
    let restored = Document::restored(size, &document.kept());
    assert_eq!(drawn(&restored), expected.join("\n"), "the same on the next visit");
}

#[test]
fn a_brush_is_round_with_an_edge_of_one_pixel() {
    let dot = ["........", "..++++..", ".+####+.", ".+####+.", ".+####+.", ".+####+.", "..++++..", "........"];
    check((8, 8), |document| stroke(document, Ink::Paint, 6.0, &[(4.0, 4.0)]), &dot);
}

#[test]
fn a_fast_stroke_has_no_gaps() {
    let line = ["............", "############", "############", "............"];
    check((12, 4), |document| stroke(document, Ink::Paint, 2.0, &[(0.0, 2.0), (12.0, 2.0)]), &line);
}

#[test]
fn the_same_stroke_in_many_samples_is_the_same_mask() {
    let mask = |steps: u16| {
        let mut document = Document::new((64, 24));
        let points: Vec<_> = (0..=steps).map(|at| (8.0 + 48.0 * f32::from(at) / f32::from(steps), 12.0)).collect();
        stroke(&mut document, Ink::Paint, 10.0, &points);
        document.mask().clone()
    };
    assert_eq!(mask(1), mask(48));
}

#[test]
fn pressure_makes_a_pen_wide() {
    let width = |pressure| {
        let mut document = Document::new((32, 32));
        document.press(Ink::Paint, Point::new(16.0, 16.0, 20.0, pressure));
        document.release();
        document.mask().levels().chunks(32).filter(|row| row.iter().any(|&level| level >= 128)).count()
    };
    assert_eq!((width(Some(0.0)), width(Some(0.5)), width(Some(1.0)), width(None)), (4, 12, 20, 20));
}

#[test]
fn an_eraser_takes_away_and_an_inversion_turns_around() {
    let edit = |document: &mut Document| {
        document.apply(Edit::Fill(Ink::Paint, Rect { x: 1, y: 1, width: 6, height: 2 }));
        document.apply(Edit::Fill(Ink::Erase, Rect { x: 3, y: 0, width: 2, height: 9 }));
        document.apply(Edit::Invert);
    };
    check((8, 4), edit, &["########", "#..##..#", "#..##..#", "########"]);
    let rubbed = |document: &mut Document| {
        document.apply(Edit::Fill(Ink::Paint, Rect::whole((6, 3))));
        stroke(document, Ink::Erase, 1.0, &[(1.5, 1.5), (4.5, 1.5)]);
    };
    check((6, 3), rubbed, &["######", "#....#", "######"]);
}

#[test]
fn every_edit_can_be_undone_and_redone() {
    let mut document = Document::new((32, 32));
    let mut states = vec![drawn(&document)];
    for at in 0..80u8 {
        let at = f32::from(at);
        match at as u8 % 8 {
            5 => document.apply(Edit::Invert),
            6 => document.apply(Edit::Fill(Ink::Erase, Rect { x: 4, y: 2, width: 9, height: 20 })),
            7 => stroke(&mut document, Ink::Erase, 3.0, &[(30.0, at / 3.0), (5.0, 20.0)]),
            _ => stroke(&mut document, Ink::Paint, 5.0, &[(at / 4.0, 1.0), (at / 3.0, 30.0)]),
        }
        states.push(drawn(&document));
    }
    for state in states.iter().rev().skip(1) {
        document.undo();
        assert_eq!(&drawn(&document), state);
    }
    assert!(!document.can_undo() && document.can_redo());
    for state in &states[1..] {
        document.redo();
        assert_eq!(&drawn(&document), state);
    }
    document.undo();
    stroke(&mut document, Ink::Paint, 9.0, &[(16.0, 16.0)]);
    assert!(!document.can_redo(), "what was undone is gone once something else is done");
}

#[test]
fn a_revision_names_one_state() {
    let mut document = Document::new((16, 16));
    let mut seen = vec![document.revision()];
    document.press(Ink::Paint, Point::new(4.0, 4.0, 3.0, None));
    document.draw(Point::new(9.0, 4.0, 3.0, None));
    assert_eq!(document.revision(), seen[0], "a stroke under way is no edit");
    document.release();
    seen.push(document.revision());
    document.undo();
    seen.push(document.revision());
    document.redo();
    seen.push(document.revision());
    document.apply(Edit::Frame(Frame::default()));
    assert_eq!(Some(&document.revision()), seen.last(), "the same frame is no edit");
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
}

#[test]
fn what_changed_covers_what_changed() {
    let mut document = Document::new((40, 40));
    assert_eq!(document.take_changed(), Rect::whole((40, 40)));
    let before = document.mask().clone();
    stroke(&mut document, Ink::Paint, 6.0, &[(10.0, 12.0), (20.0, 30.0)]);
    let part = document.take_changed();
    assert!(part.width < 40 && part.height < 40, "{part:?}");
    let all = before.levels().iter().zip(document.mask().levels()).enumerate();
    for (at, _) in all.filter(|(_, (old, new))| old != new) {
        let (x, y) = (at as i32 % 40, at as i32 / 40);
        assert!((part.x..part.x + part.width as i32).contains(&x), "{x} {part:?}");
        assert!((part.y..part.y + part.height as i32).contains(&y), "{y} {part:?}");
    }
    assert!(document.take_changed().is_empty());
}

#[test]
fn a_frame_crops_inwards_and_grows_outwards() {
    let size = (256, 192);
    let right = Handle { x: 1, y: 0 };
    let grown = Frame::default().pulled(right, (66.0, 50.0), size);
    assert_eq!(grown, Frame { right: 64, ..Frame::default() }, "whole cells");
    assert_eq!(grown.outpaint(), Some(OutpaintRequest { right: 64, ..OutpaintRequest::default() }));
    assert_eq!(grown.crop(size), Rect::whole(size));
    let corner = Frame::default().pulled(Handle { x: -1, y: -1 }, (40.0, 24.0), size);
    assert_eq!((corner.crop(size), corner.outpaint()), (Rect { x: 40, y: 24, width: 216, height: 168 }, None));
    let odd = Frame::default().pulled(right, (0.0, 0.0), (250, 190));
    assert_eq!(odd.rect((250, 190)).width, 248);
}

#[test]
fn a_frame_shows_some_of_the_picture_and_has_a_size_that_a_job_can_have() {
    let check = |frame: Frame, expected: Frame| assert_eq!(frame.limited((256, 40)), expected);
    check(Frame { left: -250, right: -250, ..Frame::default() }, Frame { left: -192, ..Frame::default() });
    check(
        Frame { right: 9000, bottom: 9000, ..Frame::default() },
        Frame { right: 1792, bottom: 2008, ..Frame::default() },
    );
    check(Frame { top: 9000, bottom: 50, ..Frame::default() }, Frame { top: 2008, ..Frame::default() });
    check(Frame { top: -30, ..Frame::default() }, Frame::default());
    for frame in [(-9999, 9999), (9999, -9999), (-5, -9999), (9999, 9999), (0, 0)] {
        let frame = Frame { left: frame.0, right: frame.1, ..Frame::default() }.limited((256, 256));
        let (crop, rect) = (frame.crop((256, 256)), frame.rect((256, 256)));
        assert!(crop.width >= 1 && (64..=2048).contains(&rect.width), "{frame:?}");
    }
}

#[test]
fn a_picture_is_drawn_at_its_own_size_where_the_model_can() {
    let check = |size, frame, native, expected| {
        let mut document = Document::new(size);
        document.apply(Edit::Frame(frame));
        assert_eq!(document.job_size(native), expected);
    };
    let whole = Frame::default();
    check((256, 256), whole, (256, 256), (256, 256));
    check((320, 200), whole, (256, 256), (320, 200));
    check((256, 256), Frame { right: 64, ..whole }, (256, 256), (320, 256));
    check((2048, 1536), whole, (512, 512), (592, 440));
    check((300, 250), whole, (256, 256), (304, 248));
    check((20, 500), whole, (512, 512), (64, 504));
}

#[test]
fn a_request_says_only_what_goes_with_its_picture() {
    let form = || JobRequest {
        strength: Some(0.5),
        mask_blur: Some(8),
        inpaint: Some(InpaintRequest::default()),
        ..JobRequest::default()
    };
    let check = |document: Option<&Document>, expected: JobRequest| {
        let mut request = form();
        complete(&mut request, document);
        assert_eq!(request, expected);
    };
    check(None, JobRequest::default());
    let mut document = Document::new((128, 128));
    check(Some(&document), JobRequest { strength: Some(0.5), ..JobRequest::default() });

    document.apply(Edit::Frame(Frame { top: 16, left: -8, ..Frame::default() }));
    let outpaint = Some(OutpaintRequest { top: 16, ..OutpaintRequest::default() });
    check(Some(&document), JobRequest { outpaint, ..form() });

    document.apply(Edit::Frame(Frame { left: -8, ..Frame::default() }));
    document.apply(Edit::Fill(Ink::Paint, Rect { x: 0, y: 0, width: 4, height: 128 }));
    assert!(!document.is_masked(), "what is cut off is not drawn");
    check(Some(&document), JobRequest { strength: Some(0.5), ..JobRequest::default() });
    document.apply(Edit::Fill(Ink::Paint, Rect { x: 0, y: 0, width: 12, height: 4 }));
    check(Some(&document), form());
}

#[test]
fn an_upload_that_is_gone_is_told_from_other_faults() {
    let check = |fields: &[&str], expected: bool| {
        let detail = |field: &&str| ErrorDetail { field: (*field).to_owned(), message: "is not here".into() };
        let error = ErrorBody::invalid(fields.iter().map(detail).collect());
        assert_eq!(is_upload_gone(&error), expected, "{fields:?}");
    };
    check(&["image"], true);
    check(&["image", "mask"], true);
    check(&["mask", "steps"], false);
    check(&[], false);
}

/// A PNG with these chunks and nothing else.
fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in chunks {
        file.extend((content.len() as u32).to_be_bytes());
        file.extend_from_slice(*kind);
        file.extend_from_slice(content);
        file.extend([0; 4]);
    }
    file
}

fn catalogue() -> Catalogue {
    let entry = |name: &str, label: &str| NamedEntry { name: name.into(), label: label.into() };
    let scheduler = |name: &str, label: &str| SchedulerEntry {
        name: name.into(),
        label: label.into(),
        sigmas: vec!["default".into(), "karras".into()],
    };
    Catalogue {
        models: vec![crate::session::tests::model("small", 256)],
        schedulers: vec![scheduler("dpmpp_2m", "DPM++ 2M"), scheduler("dpmpp_2m_sde", "DPM++ 2M SDE")],
        sigmas: vec![entry("default", "Automatic"), entry("karras", "Karras")],
        loras: vec!["ink".into()],
        embeddings: Vec::new(),
    }
}

#[test]
fn our_own_pictures_say_everything() {
    let json = r#"{"prompt":"a café","seed":7,"steps":9,"model":"gone","image":"0f"}"#;
    let itxt = [b"sd-worker\0\0\0\0\0", json.as_bytes()].concat();
    let infotext = b"parameters\0a caf\nSteps: 3, Seed: 1";
    let file = png(&[(b"IHDR", &[0; 13]), (b"tEXt", infotext), (b"iTXt", &itxt)]);
    let request = Imported::read(&file).unwrap().request(&catalogue());
    let expected =
        JobRequest { prompt: Some("a café".into()), seed: Some(7), steps: Some(9), ..JobRequest::default() };
    assert_eq!(request, expected);
}

#[test]
fn pictures_of_others_say_what_we_can_follow() {
    let text = b"parameters\0a cat, <lora:ink:0.5> <lora:gone:1>\nsitting\nNegative prompt: dog,\nblurry\n\
        Steps: 20, Sampler: DPM++ 2M SDE Karras, CFG scale: 6.5, Seed: 42, Size: 512x768, \
        Model: \"a, b: c\", Clip skip: 2, Denoising strength: 0.4, Version: v1.10";
    let request = Imported::read(&png(&[(b"tEXt", text)])).unwrap().request(&catalogue());
    let expected = JobRequest {
        prompt: Some("a cat,  \nsitting".into()),
        negative_prompt: Some("dog,\nblurry".into()),
        steps: Some(20),
        scheduler: Some("dpmpp_2m_sde".into()),
        sigmas: Some("karras".into()),
        guidance_scale: Some(6.5),
        seed: Some(42),
        width: Some(512),
        height: Some(768),
        clip_skip: Some(1),
        strength: Some(0.4),
        loras: Some(vec![LoraRequest { name: "ink".into(), weight: 0.5 }]),
        ..JobRequest::default()
    };
    assert_eq!(request, expected);
    let apart = b"parameters\0a\nSteps: 4, Sampler: dpm++ 2m, Schedule type: Karras, Model: small";
    let request = Imported::read(&png(&[(b"tEXt", apart)])).unwrap().request(&catalogue());
    let names = [request.scheduler, request.sigmas, request.model].map(Option::unwrap_or_default);
    assert_eq!(names, ["dpmpp_2m", "karras", "small"]);
}

#[test]
fn other_files_say_nothing() {
    let check = |file: &[u8]| assert_eq!(Imported::read(file), None);
    check(b"");
    check(b"GIF89a");
    check(&png(&[]));
    check(&png(&[(b"tEXt", b"Software\0something"), (b"tEXt", b"parameters\0no settings at all")]));
    check(&png(&[(b"iTXt", b"sd-worker\0\0\0\0\0no json")]));
    let whole = png(&[(b"tEXt", b"parameters\0a\nSteps: 4")]);
    (0..whole.len()).for_each(|length| check(&whole[..length]));
    assert!(Imported::read(&whole).is_some());
}
