//! C7: how soon a job ends that is canceled at a random moment.

use std::time::{Duration, Instant};

use sd_protocol::{ClientFrame, Event};
use sd_tests::socket::{Incoming, Socket};

use super::Quantity;
use super::host::{self, Model, Wish};
use crate::cases::Dtype;
use crate::engines::OURS;
use crate::networks::outcome::ms;
use crate::setting::Setting;

/// Cancels jobs at moments that are spread over the whole time of a job.
pub(super) async fn run(setting: &Setting) -> anyhow::Result<Vec<Quantity>> {
    let (model, size, count) = if setting.quick { (Model::Builtin, 256, 10) } else { (Model::Sd15, 512, 50) };
    let worker = host::start(model, Dtype::Fp32, setting.threads, &[], setting).await?;
    // One step and the decoder: each takes about half of the time.
    let wish = Wish { model, size, steps: 1, guidance_scale: 7.5 };
    host::draw(&worker, &wish.job(0, "none")).await?;
    let whole = host::draw(&worker, &wish.job(1, "none")).await?.compute_ms()?;
    let mut socket = Socket::greet(&worker).await?;
    let (mut times, mut late) = (Vec::new(), 0);
    for number in 0..count {
        // Halves of the golden section fall everywhere, and on no regular moments.
        let phase = (number as f64 * 0.618_033_988_75).fract();
        let wait = Duration::from_secs_f64(phase * whole / 1e3);
        match cancel(&mut socket, wish, number + 2, wait).await? {
            Some(time) => times.push(ms(time)),
            None => late += 1,
        }
    }
    let what = format!("from cancel to the end, {}, {size} px, {} cancels", model.title(), times.len());
    let remark = if late > 0 { format!("{late} more came after the end") } else { String::new() };
    Ok(vec![Quantity::new("C7", what, OURS, "ms", times).remark(remark)])
}

/// Time from the wish to the end; nothing where the job was done before.
async fn cancel(socket: &mut Socket, wish: Wish, number: usize, wait: Duration) -> anyhow::Result<Option<Duration>> {
    let job = socket.submit(number as u32, &wish.job(number, "none")).await?.view.id;
    let started = |incoming: &Incoming| match incoming {
        Incoming::Event(frame) if frame.job == job => matches!(frame.event, Event::Started { .. }).then_some(()),
        _ => None,
    };
    socket.take("the start", started).await?;
    tokio::time::sleep(wait).await;
    let asked = Instant::now();
    socket.send(&ClientFrame::Cancel { job: job.clone() }).await?;
    let ended = |incoming: &Incoming| match incoming {
        Incoming::Event(frame) if frame.job == job && frame.event.is_terminal() => {
            Some((matches!(frame.event, Event::Canceled), Instant::now()))
        }
        _ => None,
    };
    let (was_canceled, at) = socket.take("the end", ended).await?;
    Ok(was_canceled.then(|| at - asked))
}
