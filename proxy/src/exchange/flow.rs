//! One direction of an exchange: a body read from one side, framed anew and written to the other. Never more than one
//! batch is under way, and the source is not read while the sink's write is pending, so a slow reader slows its writer
//! and memory stays bounded.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::http1::{BodyLength, ChunkRules, DecodedPart, Decoder, MessageError, chunked};
use crate::local::buffers::{Buf, Buffers};
use crate::local::tick::Tick;
use crate::local::yielding;
use crate::stream::Stream;

/// A connection's turn: after so many bytes it lets others have the thread. tokio's own budget counts operations, and 128
/// reads of 64 KiB are too much.
const TURN: usize = 256 * 1024;
/// What a chunk costs beside its bytes, in bytes: a read full of one-byte chunks takes as long as a turn of large ones.
const CHUNK_COST: usize = 64;

/// A batch up to this size goes out as one piece: copying it costs less than a vectored write.
const GATHERED: usize = 8 * 1024;

/// Why a flow ended before its body did.
#[derive(Debug)]
pub(crate) enum FlowError {
    /// The source closed or failed.
    Source,
    /// The sink failed. `lost`: not by a close that it had announced, so that an end of what it sends, which reads are
    /// told of from then on, is none.
    Sink { lost: bool },
    /// The source's framing is malformed.
    Malformed(MessageError),
}

/// Which side a flow waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowWait {
    ForSource,
    ForSink,
}

/// Where the body ends.
#[derive(Debug)]
enum BodyReader {
    Length(u64),
    Chunked(Box<Decoder>),
    UntilClose,
}

/// A body on its way. What is to be written is a batch of three parts: `before` (a head, a size line), the first
/// `payload` bytes of the source's buffer, `after` (chunk ends, trailers).
#[derive(Debug)]
pub(crate) struct Flow {
    before: Buf,
    payload: usize,
    after: Buf,
    sent: usize,
    reader: BodyReader,
    chunks_out: bool,
    /// Most bytes of the body.
    most: u64,
    ended: bool,
    whole: bool,
    torn: bool,
    /// When the side that was waited for last did something.
    progress: Tick,
    moved: u64,
    /// What is left of this turn.
    turn: usize,
    /// The sink is slow: no more is read for it at a time than a small buffer takes.
    thrifty: bool,
}

impl Flow {
    /// `before` goes out ahead of the body. `chunks_out`: the body is written in chunks.
    pub(crate) fn new(before: Buf, body: BodyLength, chunks_out: bool, now: Tick) -> Self {
        let reader = match body {
            BodyLength::Empty => BodyReader::Length(0),
            BodyLength::Length(length) => BodyReader::Length(length),
            BodyLength::Chunked => BodyReader::Chunked(Box::default()),
            BodyLength::UntilClose => BodyReader::UntilClose,
        };
        let ended = matches!(reader, BodyReader::Length(0));
        Self {
            before,
            payload: 0,
            after: Buf::default(),
            sent: 0,
            reader,
            chunks_out,
            most: u64::MAX,
            ended,
            whole: true,
            torn: false,
            progress: now,
            moved: 0,
            turn: TURN,
            thrifty: false,
        }
    }

    /// If the body comes in chunks, it is read by these rules. To be said before anything was read.
    pub(crate) fn read_by(&mut self, rules: &ChunkRules) {
        if let BodyReader::Chunked(decoder) = &mut self.reader {
            **decoder = Decoder::by(rules);
        }
    }

    /// The same, for a body that may have so many bytes and no more.
    pub(crate) fn at_most(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// The next body on the same flow, behind what is still to be written (interim heads).
    pub(crate) fn begin(&mut self, body: BodyLength, chunks_out: bool) {
        let before = std::mem::take(&mut self.before);
        let sent = self.sent;
        *self = Self {
            sent,
            torn: self.torn,
            ..Self::new(before, body, chunks_out, self.progress)
        };
    }

    /// What goes out ahead of the body, to append to now.
    pub(crate) fn before(&mut self, buffers: &Buffers, now: Tick) -> &mut Vec<u8> {
        if self.waiting() == FlowWait::ForSource {
            self.progress = now;
        }
        if self.before.is_empty() {
            buffers.give_back(&mut self.before);
            self.before = buffers.small();
        }
        self.before.vec()
    }

    /// Every byte of the body was read and written.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.sent == self.batch()
    }

    /// Every byte of the body was read.
    pub(crate) fn is_read(&self) -> bool {
        self.ended
    }

    /// A byte was handed to the sink.
    pub(crate) fn is_begun(&self) -> bool {
        self.sent > 0 || !self.whole
    }

    /// The source's connection is lost, which a write to it was told: reads are told of an end then, and a body that
    /// only the close ends would seem whole.
    pub(crate) fn tear(&mut self) {
        self.torn = true;
    }

    /// Another connection is the source from here on.
    pub(crate) fn mend(&mut self) {
        self.torn = false;
    }

    /// What has gone out ends within one of the heads in `before`, so that no other head can follow it.
    pub(crate) fn is_head_cut(&self) -> bool {
        let heads = self.before.unread();
        let sent = &heads[..self.sent.min(heads.len())];
        !sent.is_empty() && !sent.ends_with(b"\r\n\r\n")
    }

    /// Takes back what was written from `at` on, of which no byte has gone out. False: some has.
    pub(crate) fn cut_unsent(&mut self, at: usize) -> bool {
        let unsent = self.whole && self.sent <= at;
        if unsent {
            self.before.truncate(at);
        }
        unsent
    }

    /// What has been read of it is still here and can be sent again.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Body bytes read so far, without framing.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// Of them, the bytes that the sink has taken; framing that it has not is taken off as well.
    pub(crate) fn passed(&self) -> u64 {
        self.moved.saturating_sub((self.batch() - self.sent) as u64)
    }

    /// How many bytes of the source's buffer are taken and not yet let go of.
    pub(crate) fn payload(&self) -> usize {
        self.payload
    }

    /// The body has just come as a whole: waiting begins now.
    pub(crate) fn received(&mut self, now: Tick) {
        self.progress = now;
    }

    /// The last progress.
    pub(crate) fn progress(&self) -> Tick {
        self.progress
    }

    pub(crate) fn waiting(&self) -> FlowWait {
        if self.sent < self.batch() {
            FlowWait::ForSink
        } else {
            FlowWait::ForSource
        }
    }

    /// Takes what has arrived of the body already.
    ///
    /// # Errors
    /// It is malformed.
    pub(crate) fn prime(&mut self, input: &mut Buf) -> Result<(), MessageError> {
        if self.ended || self.payload > 0 || input.is_empty() {
            return Ok(());
        }
        self.digest(input)?;
        self.gather(input);
        Ok(())
    }

    /// Moves the parts of a small batch together, behind the head.
    fn gather(&mut self, input: &mut Buf) {
        let room = self.before.room();
        if self.before.is_empty() || self.payload + self.after.len() > room.min(GATHERED) {
            return;
        }
        self.before
            .vec()
            .extend_from_slice(&input.unread()[..self.payload]);
        self.before.vec().extend_from_slice(self.after.unread());
        self.after.clear();
        input.consume(self.payload);
        self.payload = 0;
    }

    /// What goes out ahead of the body, with what was gathered of it.
    pub(crate) fn head(&self) -> &[u8] {
        self.before.unread()
    }

    /// Another one takes its place.
    pub(crate) fn replace_head(&mut self, head: &[u8]) {
        debug_assert!(self.whole && self.sent == 0, "it has not gone out");
        self.before.clear();
        self.before.vec().extend_from_slice(head);
    }

    /// From the start again, for another connection.
    pub(crate) fn rewind(&mut self) {
        debug_assert!(self.whole, "what has left the buffer cannot be sent again");
        self.sent = 0;
    }

    /// The memory of what goes out beside the source's bytes.
    pub(crate) fn held(&self) -> usize {
        self.before.held() + self.after.held()
    }

    /// Holds no memory while nothing is on its way: for a source that may take its time.
    pub(crate) fn slim(&mut self, buffers: &Buffers) {
        for part in [&mut self.before, &mut self.after] {
            if part.is_empty() {
                buffers.give_back(part);
            } else if self.sent == 0 {
                buffers.shrink(part);
            }
        }
    }

    /// Whether the sink takes its time: then no more is read for it at once than a small buffer holds.
    pub(crate) fn limit_reads(&mut self, thrifty: bool) {
        self.thrifty = thrifty;
    }

    /// Lets go of the last batch. The source's buffer then begins with what has not been taken of it.
    pub(crate) fn release(&mut self, buffers: &Buffers, input: &mut Buf) {
        self.finish_batch(input);
        buffers.give_back(&mut self.before);
        buffers.give_back(&mut self.after);
        buffers.settle(input);
    }

    fn batch(&self) -> usize {
        self.before.len() + self.payload + self.after.len()
    }

    /// Writes what is there without reading more.
    pub(crate) fn poll_flush<W: Stream>(
        &mut self,
        input: &Buf,
        to: &mut W,
        now: Tick,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.batch() {
            let n = ready!(self.poll_write(input, to, cx))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
            self.progress = now;
        }
        Poll::Ready(Ok(()))
    }

    /// Moves bytes until the body has ended and is written (its last batch is kept until [`Flow::release`]), or
    /// either side is not ready.
    pub(crate) fn poll<R: Stream, W: Stream>(
        &mut self,
        buffers: &Buffers,
        input: &mut Buf,
        from: &mut R,
        to: &mut W,
        now: Tick,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), FlowError>> {
        ready!(self.poll_to_end(buffers, input, from, to, now, cx))?;
        self.poll_sink(input, to, now, cx)
    }

    /// Moves bytes until the body has ended, and leaves its last batch to be written by [`Flow::poll_sink`].
    pub(crate) fn poll_to_end<R: Stream, W: Stream>(
        &mut self,
        buffers: &Buffers,
        input: &mut Buf,
        from: &mut R,
        to: &mut W,
        now: Tick,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), FlowError>> {
        loop {
            self.prime(input).map_err(FlowError::Malformed)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_sink(input, to, now, cx))?;
            self.finish_batch(input);
            // What was read ahead while the try before came to its end.
            if !input.is_empty() {
                continue;
            }
            ready!(self.poll_turn(cx));
            if self.thrifty {
                buffers.lend_small(input);
            }
            match ready!(buffers.poll_read(input, from, cx)) {
                Ok(0) if matches!(self.reader, BodyReader::UntilClose) && !self.torn => {
                    self.end(&[])
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(FlowError::Source)),
                Ok(n) => self.turn = self.turn.saturating_sub(n),
            }
            self.progress = now;
        }
    }

    /// Writes what is there.
    pub(crate) fn poll_sink<W: Stream>(
        &mut self,
        input: &Buf,
        to: &mut W,
        now: Tick,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), FlowError>> {
        self.poll_flush(input, to, now, cx)
            .map_err(|error| FlowError::Sink {
                lost: error.kind() != io::ErrorKind::BrokenPipe,
            })
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn > 0 {
            return Poll::Ready(());
        }
        self.turn = TURN;
        yielding::end(cx)
    }

    fn poll_write<W: Stream>(
        &self,
        input: &Buf,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut skip = self.sent;
        let parts = [
            self.before.unread(),
            &input.unread()[..self.payload],
            self.after.unread(),
        ]
        .map(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            &part[skipped..]
        });
        let to = Pin::new(to);
        match parts {
            [part, [], []] | [[], part, []] | [[], [], part] => to.poll_write(cx, part),
            _ => to.poll_write_vectored(cx, &parts.map(IoSlice::new)),
        }
    }

    /// Forgets a batch that was written.
    fn finish_batch(&mut self, input: &mut Buf) {
        if self.batch() > 0 {
            self.whole = false;
        }
        self.before.clear();
        self.after.clear();
        input.consume(self.payload);
        self.payload = 0;
        self.sent = 0;
    }

    /// Turns what was read into the next batch.
    fn digest(&mut self, input: &mut Buf) -> Result<(), MessageError> {
        let available = input.len();
        match &mut self.reader {
            BodyReader::Length(left) => {
                let taken = usize::try_from(*left).map_or(available, |left| left.min(available));
                *left -= taken as u64;
                self.payload = taken;
                self.ended = *left == 0;
            }
            BodyReader::UntilClose => self.payload = available,
            BodyReader::Chunked(decoder) => {
                let unchunked = unchunk(decoder, input)?;
                (self.payload, self.ended) = (unchunked.payload, unchunked.ended);
                self.turn = self.turn.saturating_sub(unchunked.chunks * CHUNK_COST);
            }
        }
        self.moved += self.payload as u64;
        if self.moved > self.most {
            return Err(MessageError::BodyTooLong);
        }
        if self.chunks_out && self.payload > 0 {
            let mut line = [0; chunked::MAX_SIZE_LINE];
            self.before
                .vec()
                .extend_from_slice(chunked::size_line(self.payload, &mut line));
            self.after.vec().extend_from_slice(b"\r\n");
        }
        if self.ended {
            let reader = std::mem::replace(&mut self.reader, BodyReader::Length(0));
            match reader {
                BodyReader::Chunked(decoder) => self.end(decoder.trailers()),
                _ => self.end(&[]),
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: &[u8]) {
        self.ended = true;
        if self.chunks_out {
            chunked::append_end(self.after.vec(), trailers);
        }
    }
}

/// What was found in a piece of a chunked body.
struct ChunkPiece {
    /// Bytes of data.
    payload: usize,
    /// In so many chunks, or parts of them.
    chunks: usize,
    /// The body has ended.
    ended: bool,
}

/// Takes the chunk lines out of what was read, in place: afterwards `input` begins with the data, and what follows
/// the body stands behind it.
fn unchunk(decoder: &mut Decoder, input: &mut Buf) -> Result<ChunkPiece, MessageError> {
    let (mut at, mut payload, mut chunks) = (0, 0, 0);
    let ended = loop {
        let rest = &input.unread()[at..];
        let (used, decoded) = decoder.next(rest)?;
        match decoded {
            DecodedPart::Data(data) => {
                let from = at + (data.as_ptr().addr() - rest.as_ptr().addr());
                let length = data.len();
                input.shift(from, length, payload);
                payload += length;
                chunks += 1;
                at += used;
            }
            DecodedPart::More => {
                at += used;
                break false;
            }
            DecodedPart::End => {
                at += used;
                break true;
            }
        }
    };
    let surplus = input.len() - at;
    input.shift(at, surplus, payload);
    input.truncate(payload + surplus);
    Ok(ChunkPiece {
        payload,
        chunks,
        ended,
    })
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;
    use crate::local::buffers::LARGE;

    /// Brings nothing, or the same again and again; takes everything, or fails.
    #[derive(Default)]
    struct FlowEnd {
        brings: &'static [u8],
        reads: usize,
        fails: Option<io::ErrorKind>,
        taken: usize,
    }

    impl AsyncRead for FlowEnd {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.brings.is_empty() {
                return Poll::Pending;
            }
            while buf.remaining() >= self.brings.len() {
                buf.put_slice(self.brings);
            }
            self.get_mut().reads += 1;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for FlowEnd {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if let Some(kind) = self.fails {
                return Poll::Ready(Err(kind.into()));
            }
            self.get_mut().taken += bytes.len();
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Stream for FlowEnd {
        fn is_readable(&self) -> bool {
            false
        }

        fn poll_readable(&self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }

        fn is_silent(&self) -> bool {
            true
        }

        fn reset_on_close(&self) {}
    }

    /// A request with so much of its body at hand, and that part.
    fn upload(buffers: &Buffers, at_hand: usize, length: usize) -> (Flow, Buf) {
        let (mut head, mut input) = (buffers.small(), buffers.small());
        head.vec().extend_from_slice(b"PUT / HTTP/1.1\r\n\r\n");
        let mut flow = Flow::new(head, BodyLength::Length(length as u64), false, Tick::START);
        input.vec().extend_from_slice(&vec![7; at_hand]);
        flow.prime(&mut input).unwrap();
        (flow, input)
    }

    fn poll(
        flow: &mut Flow,
        buffers: &Buffers,
        input: &mut Buf,
        backend: &mut FlowEnd,
    ) -> Poll<Result<(), FlowError>> {
        let mut cx = Context::from_waker(Waker::noop());
        flow.poll(
            buffers,
            input,
            &mut FlowEnd::default(),
            backend,
            Tick::START,
            &mut cx,
        )
    }

    #[test]
    fn a_turn_is_over_sooner_where_each_byte_is_a_chunk_of_its_own() {
        for (brings, body, reads) in [
            (
                &b"0123456789abcdef"[..],
                BodyLength::Length(1 << 30),
                TURN / LARGE,
            ),
            (b"1\r\nx\r\n", BodyLength::Chunked, 1),
        ] {
            let buffers = Buffers::default();
            let mut flow = Flow::new(
                buffers.small(),
                body,
                body == BodyLength::Chunked,
                Tick::START,
            );
            let (mut input, mut to) = (Buf::default(), FlowEnd::default());
            let mut from = FlowEnd {
                brings,
                ..FlowEnd::default()
            };
            let mut cx = Context::from_waker(Waker::noop());
            assert!(
                flow.poll(
                    &buffers,
                    &mut input,
                    &mut from,
                    &mut to,
                    Tick::START,
                    &mut cx
                )
                .is_pending()
            );
            assert_eq!(from.reads, reads, "{body:?}");
        }
    }

    #[test]
    fn what_was_read_ahead_between_two_tries_is_sent_too() {
        let buffers = Buffers::default();
        let (mut flow, mut input) = upload(&buffers, 10_000, 11_000);
        let head = flow.batch() - 10_000;
        let mut lost = FlowEnd {
            fails: Some(io::ErrorKind::ConnectionReset),
            ..FlowEnd::default()
        };
        assert!(poll(&mut flow, &buffers, &mut input, &mut lost).is_ready());
        // As whoever looks for the client meanwhile does.
        input.vec().extend_from_slice(&[7; 1_000]);
        flow.rewind();
        let mut fresh = FlowEnd::default();
        assert!(matches!(
            poll(&mut flow, &buffers, &mut input, &mut fresh),
            Poll::Ready(Ok(()))
        ));
        assert_eq!(fresh.taken, head + 11_000);
    }

    #[test]
    fn only_who_had_announced_its_close_has_ended_what_it_sends() {
        let buffers = Buffers::default();
        for (kind, expected) in [
            (io::ErrorKind::BrokenPipe, false),
            (io::ErrorKind::ConnectionReset, true),
            (io::ErrorKind::TimedOut, true),
            (io::ErrorKind::HostUnreachable, true),
        ] {
            let (mut flow, mut input) = upload(&buffers, 10, 10);
            let mut backend = FlowEnd {
                fails: Some(kind),
                ..FlowEnd::default()
            };
            match poll(&mut flow, &buffers, &mut input, &mut backend) {
                Poll::Ready(Err(FlowError::Sink { lost })) => assert_eq!(lost, expected, "{kind}"),
                other => panic!("{kind}: {other:?}"),
            }
        }
    }
}
