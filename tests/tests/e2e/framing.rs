//! The framing of RFC 6455 over a plain socket: what the rules allow works, and what they forbid ends the connection
//! with the code that says why.

use anyhow::{Context, Result, bail, ensure};
use sd_tests::within;
use sd_tests::worker::Worker;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;

const HELLO: &[u8] = br#"{"type":"hello","client":"framing"}"#;

/// A masked frame: `first` is FIN, the reserved bits and the opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(MASKED | short as u8),
        long @ 126..=0xffff => {
            bytes.push(MASKED | 126);
            bytes.extend((long as u16).to_be_bytes());
        }
        huge => {
            bytes.push(MASKED | 127);
            bytes.extend((huge as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// What the worker sent: opcode and payload.
type Received = (u8, Vec<u8>);

/// An open WebSocket without a library.
struct Wire(TcpStream);

impl Wire {
    async fn open(worker: &Worker) -> Result<Self> {
        let mut tcp = TcpStream::connect(worker.address()).await?;
        let head = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            worker.address()
        );
        tcp.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(within("the head of an answer", tcp.read_u8()).await??);
        }
        let answer = String::from_utf8(answer)?.to_lowercase();
        ensure!(answer.starts_with("http/1.1 101 "), "{answer}");
        ensure!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
        Ok(Self(tcp))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes).await?)
    }

    /// The next frame; `None` at the end of the connection.
    async fn next(&mut self) -> Result<Option<Received>> {
        within("a frame or the end", async {
            let mut head = [0; 2];
            // A connection that is reset has ended, too.
            if self.0.read_exact(&mut head).await.is_err() {
                return Ok(None);
            }
            ensure!(head[0] & FIN != 0 && head[0] & 0x70 == 0 && head[1] & MASKED == 0, "{head:?}");
            let length = match head[1] {
                126 => u64::from(self.0.read_u16().await?),
                127 => self.0.read_u64().await?,
                short => u64::from(short),
            };
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await?;
            Ok(Some((head[0] & 0xf, payload)))
        })
        .await?
    }

    /// The next text frame.
    async fn json(&mut self) -> Result<Value> {
        match self.next().await? {
            Some((TEXT, payload)) => Ok(serde_json::from_slice(&payload)?),
            other => bail!("expected a text frame, not {other:?}"),
        }
    }
}

/// Sends `bytes` over a new connection; whatever comes until its end, which must come with close code `code`.
async fn check_closes(worker: &Worker, bytes: &[u8], code: u16) -> Result<Vec<Received>> {
    let mut wire = Wire::open(worker).await?;
    wire.send(bytes).await?;
    let mut received = Vec::new();
    while let Some(frame) = wire.next().await? {
        received.push(frame);
    }
    let (opcode, payload) = received.pop().context("the connection ended without a word")?;
    let said = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
    ensure!((opcode, said) == (CLOSE, Some(code)), "expected close {code}, not {opcode} {payload:?}");
    std::str::from_utf8(&payload[2..])?;
    Ok(received)
}

#[tokio::test]
async fn fragments_are_one_message_whatever_comes_between() -> Result<()> {
    let worker = Worker::start().await?;
    let mut wire = Wire::open(&worker).await?;
    let (start, rest) = HELLO.split_at(9);
    wire.send(&frame(TEXT, start)).await?;
    wire.send(&frame(FIN | PING, b"between")).await?;
    wire.send(&frame(CONTINUATION, b"")).await?;
    wire.send(&frame(FIN | PONG, b"nobody asked")).await?;
    // A frame that arrives in two pieces is one frame.
    let last = frame(FIN | CONTINUATION, rest);
    wire.send(&last[..5]).await?;
    assert_eq!(wire.next().await?, Some((PONG, b"between".to_vec())));
    wire.send(&last[5..]).await?;
    assert_eq!(wire.json().await?["type"], "welcome");

    wire.send(&frame(FIN | PING, &[7; 125])).await?;
    assert_eq!(wire.next().await?, Some((PONG, vec![7; 125])));
    wire.send(&frame(FIN | PING, b"")).await?;
    assert_eq!(wire.next().await?, Some((PONG, Vec::new())));

    // A letter of several bytes may be cut by the border of two fragments.
    let dance = r#"{"type":"dänce"}"#.as_bytes();
    let cut = dance.iter().position(|byte| *byte > 0x7f).context("it has such a letter")? + 1;
    wire.send(&frame(TEXT, &dance[..cut])).await?;
    wire.send(&frame(FIN | CONTINUATION, &dance[cut..])).await?;
    assert_eq!(wire.json().await?["error"]["code"], "unknown_frame");
    // Many small fragments, all in one write.
    let mut many = frame(BINARY, &[]);
    (0..500).for_each(|_| many.extend(frame(CONTINUATION, &[0])));
    many.extend(frame(FIN | CONTINUATION, &[0]));
    wire.send(&many).await?;
    assert_eq!(wire.json().await?["error"]["code"], "unknown_frame");
    Ok(())
}

#[tokio::test]
async fn what_the_framing_forbids_is_a_protocol_error() -> Result<()> {
    let worker = Worker::start().await?;
    let unmasked = [&[FIN | TEXT, HELLO.len() as u8], HELLO].concat();
    let forbidden: Vec<(&str, Vec<u8>)> = vec![
        ("a reserved bit", frame(FIN | RSV1 | TEXT, HELLO)),
        ("a reserved bit of a ping", frame(FIN | RSV1 | PING, b"")),
        ("a reserved opcode", frame(FIN | 0x3, b"")),
        ("a reserved control opcode", frame(FIN | 0xb, b"")),
        ("a ping in fragments", frame(PING, b"half")),
        ("a ping of 126 bytes", frame(FIN | PING, &[0; 126])),
        ("a close of 126 bytes", close(1000, &[b'x'; 124])),
        ("a continuation of nothing", frame(FIN | CONTINUATION, b"x")),
        ("a message inside another", [frame(TEXT, b"{"), frame(FIN | TEXT, HELLO)].concat()),
        ("no mask", unmasked),
        ("a close of one byte", frame(FIN | CLOSE, &[3])),
        ("close 999", close(999, b"")),
        ("close 1004", close(1004, b"")),
        ("close 1005", close(1005, b"")),
        ("close 1006", close(1006, b"")),
        ("close 1016", close(1016, b"")),
        ("close 2999", close(2999, b"")),
    ];
    for (what, bytes) in forbidden {
        let received = check_closes(&worker, &bytes, 1002).await.context(what)?;
        assert!(received.is_empty(), "{what}: {received:?}");
    }
    next_hello_works(&worker).await
}

#[tokio::test]
async fn text_that_is_none_is_refused() -> Result<()> {
    let worker = Worker::start().await?;
    let overlong = b"{\"type\":\"\xc0\xaf\"}";
    let surrogate = b"{\"type\":\"\xed\xa0\x80\"}";
    let cut = b"{\"type\":\"\xe2\x82";
    for text in [overlong.as_slice(), surrogate, cut, b"\xff"] {
        check_closes(&worker, &frame(FIN | TEXT, text), 1007).await.with_context(|| format!("{text:?}"))?;
        let halves = [frame(TEXT, &text[..1]), frame(FIN | CONTINUATION, &text[1..])].concat();
        check_closes(&worker, &halves, 1007).await.with_context(|| format!("{text:?} in halves"))?;
    }
    check_closes(&worker, &close(1000, b"\xff\xfe"), 1007).await.context("a reason that is no text")?;
    next_hello_works(&worker).await
}

#[tokio::test]
async fn a_close_is_answered_and_silence_follows() -> Result<()> {
    let worker = Worker::start().await?;
    for code in [1000, 1001, 1003, 1007, 1011, 3000, 3999, 4000, 4999] {
        let after = frame(FIN | TEXT, HELLO);
        let bytes = [close(code, "bye, ö".as_bytes()), frame(FIN | PING, b"late"), after].concat();
        let received = check_closes(&worker, &bytes, code).await.with_context(|| format!("close {code}"))?;
        assert!(received.is_empty(), "after close {code}: {received:?}");
    }
    let mut wire = Wire::open(&worker).await?;
    wire.send(&frame(FIN | CLOSE, b"")).await?;
    assert_eq!(wire.next().await?, Some((CLOSE, Vec::new())), "a close without a code is answered as it is");
    assert_eq!(wire.next().await?, None);
    next_hello_works(&worker).await
}

async fn next_hello_works(worker: &Worker) -> Result<()> {
    let mut wire = Wire::open(worker).await?;
    wire.send(&frame(FIN | TEXT, HELLO)).await?;
    assert_eq!(wire.json().await?["type"], "welcome");
    Ok(())
}
