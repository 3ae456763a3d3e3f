//! Streams of bytes, cut to the part that is wanted.

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, future, stream};

/// The same, but each piece only when there is another one or the end is a good one. Whoever is told a length takes
/// what has it for whole, so the last piece must not go out before an error behind it.
pub(super) fn held_back<E>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Send,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    stream::unfold(Some((Box::pin(pieces), None)), |state| async move {
        let (mut pieces, mut held) = state?;
        loop {
            match (pieces.next().await, held.take()) {
                (Some(Ok(first)), None) => held = Some(first),
                (Some(Ok(next)), Some(piece)) => return Some((Ok(piece), Some((pieces, Some(next))))),
                (Some(Err(error)), _) => return Some((Err(error), None)),
                (None, last) => return last.map(|last| (Ok(last), None)),
            }
        }
    })
}

/// So many bytes behind the first ones.
pub(super) fn cut<E>(
    content: impl Stream<Item = Result<Bytes, E>> + Send,
    skip: u64,
    take: u64,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    let pieces = stream::unfold((Box::pin(content), skip, take), |(mut content, skip, take)| async move {
        if take == 0 {
            return None;
        }
        let mut bytes = match content.next().await? {
            Ok(bytes) => bytes,
            Err(error) => return Some((Err(error), (content, 0, 0))),
        };
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
        drop(bytes.split_to(skipped));
        bytes.truncate(usize::try_from(take).unwrap_or(usize::MAX));
        let left = (skip - skipped as u64, take - bytes.len() as u64);
        Some((Ok(bytes), (content, left.0, left.1)))
    });
    pieces.try_filter(|bytes| future::ready(!bytes.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(pieces: &[Result<&'static str, ()>]) -> impl Stream<Item = Result<Bytes, ()>> + Send {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.map(Bytes::from)).collect();
        stream::iter(pieces)
    }

    async fn read(stream: impl Stream<Item = Result<Bytes, ()>>) -> (String, bool) {
        let pieces: Vec<_> = stream.collect().await;
        let text = pieces.iter().flatten().map(|piece| String::from_utf8_lossy(piece)).collect();
        (text, pieces.iter().all(Result::is_ok))
    }

    #[tokio::test]
    async fn part_is_cut_out_of_the_pieces() {
        for (skip, take, expected) in [
            (0, u64::MAX, "abcdefg"),
            (0, 2, "ab"),
            (1, 3, "bcd"),
            (3, 3, "def"),
            (4, u64::MAX, "efg"),
            (6, 1, "g"),
        ] {
            let part = cut(pieces(&[Ok("abc"), Ok(""), Ok("def"), Ok("g")]), skip, take);
            assert_eq!(read(part).await, (expected.to_owned(), true), "{skip} {take}");
        }
    }

    #[tokio::test]
    async fn error_behind_the_last_byte_keeps_the_last_piece_back() {
        let whole = [Ok("abc"), Ok("def"), Err(())];
        for (skip, take, expected) in
            [(0, u64::MAX, ("abc", false)), (4, u64::MAX, ("", false)), (1, 3, ("bcd", true))]
        {
            let part = held_back(cut(pieces(&whole), skip, take));
            assert_eq!(read(part).await, (expected.0.to_owned(), expected.1), "{skip} {take}");
        }
        assert_eq!(read(held_back(pieces(&[]))).await, (String::new(), true));
    }
}
