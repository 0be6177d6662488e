//! One signed question over TCP, and its signed answers (RFC 8945 §5.3: every message of a transfer has to be signed).

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{TSigVerifier, TSigner, rdata::tsig::TsigError},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::Error;

/// For all answers to one question.
const PATIENCE: Duration = Duration::from_secs(15);

/// The third byte of a message has the flag TC (RFC 1035 §4.1.1).
const FLAGS: usize = 2;
const TRUNCATED: u8 = 0b10;

/// Whether more answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    More,
    Done,
}

/// The server that is asked, and the key that it knows us by.
pub(super) struct Exchange {
    server: SocketAddr,
    signer: TSigner,
}

impl Exchange {
    pub(super) const fn new(server: SocketAddr, signer: TSigner) -> Self {
        Self { server, signer }
    }

    pub(super) const fn server(&self) -> SocketAddr {
        self.server
    }

    /// Asks, and hands every answer on whose signature is good, until there are enough.
    ///
    /// # Errors
    /// When the server can't be reached, says no, or its signature is bad; or as `take`.
    pub(super) async fn ask(
        &self,
        message: Message,
        action: &'static str,
        take: impl FnMut(&Message) -> Result<Next, Error> + Send,
    ) -> Result<(), Error> {
        let asked = tokio::time::timeout(PATIENCE, self.converse(message, action, take)).await;
        asked.unwrap_or_else(|_| Err(self.unavailable(action, format!("nothing in {PATIENCE:?}"))))
    }

    async fn converse(
        &self,
        mut message: Message,
        action: &'static str,
        mut take: impl FnMut(&Message) -> Result<Next, Error> + Send,
    ) -> Result<(), Error> {
        let id = message.metadata.id;
        let (question, mut verifier) = self.sign(&mut message)?;
        let lost = |error: std::io::Error| self.unavailable(action, error);
        let mut stream = TcpStream::connect(self.server).await.map_err(lost)?;
        stream.write_all(&question).await.map_err(lost)?;
        loop {
            let length = stream.read_u16().await.map_err(lost)?;
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await.map_err(lost)?;
            let answer =
                Message::from_vec(&bytes).map_err(|error| self.unavailable(action, error))?;
            // Who refuses a signature often can't sign that either.
            self.check(&answer, id, action)?;
            let answer = verifier.verify(&bytes).map_err(|error| {
                self.refused(action, format!("its answer is not signed well: {error}"))
            })?;
            if take(&answer)? == Next::Done {
                return Ok(());
            }
        }
    }

    /// The message as it goes over TCP, its length first.
    fn sign(&self, message: &mut Message) -> Result<(Vec<u8>, TSigVerifier), Error> {
        let unfit = |reason: String| Error::Limit(format!("a message can't be signed: {reason}"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let verifier = message.finalize(&self.signer, now);
        let verifier = verifier.map_err(|error| unfit(error.to_string()))?;
        let verifier = verifier.ok_or_else(|| unfit("no verifier".to_owned()))?;
        let bytes = message.to_vec().map_err(|error| unfit(error.to_string()))?;
        let length = u16::try_from(bytes.len()).ok();
        // What does not fit was left out by the encoder, which says so there.
        let is_whole = bytes.get(FLAGS).is_some_and(|flags| flags & TRUNCATED == 0);
        let length = length.filter(|_| is_whole);
        let length = length.ok_or_else(|| unfit("it has more than 65,535 bytes".to_owned()))?;
        Ok(([length.to_be_bytes().as_slice(), &bytes].concat(), verifier))
    }

    fn check(&self, answer: &Message, id: u16, action: &'static str) -> Result<(), Error> {
        if answer.metadata.id != id {
            return Err(self.refused(action, "it answered another question".to_owned()));
        }
        let signature = answer.signature().and_then(|record| record.data.error);
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            // What the update took for granted is no longer so (RFC 2136 §2.2).
            code @ (ResponseCode::YXDomain
            | ResponseCode::YXRRSet
            | ResponseCode::NXRRSet
            | ResponseCode::NXDomain) => Err(Error::Changed {
                provider: self.provider(),
                reason: code.to_string(),
            }),
            code @ ResponseCode::ServFail => Err(self.unavailable(action, code)),
            code => Err(self.refused(action, explained(code, signature))),
        }
    }

    fn provider(&self) -> String {
        format!("the name server {}", self.server)
    }

    fn unavailable(&self, action: &'static str, reason: impl ToString) -> Error {
        Error::Unavailable {
            provider: self.provider(),
            action,
            reason: reason.to_string(),
        }
    }

    fn refused(&self, action: &'static str, reason: String) -> Error {
        Error::Refused {
            provider: self.provider(),
            action,
            reason,
        }
    }
}

fn explained(code: ResponseCode, signature: Option<TsigError>) -> String {
    match signature {
        Some(TsigError::BadKey) => {
            format!("{code}: it does not know the key, or gives it no right to do so (BADKEY)")
        }
        Some(TsigError::BadSig) => format!("{code}: it has another secret for the key (BADSIG)"),
        Some(TsigError::BadTime) => {
            format!("{code}: its clock and this machine's differ by minutes (BADTIME)")
        }
        Some(other) => format!("{code}: it does not take the signature ({other:?})"),
        None => format!("{code}; does the key have the right to do so?"),
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{
        Name, RData, Record,
        rdata::{A, tsig::TsigAlgorithm},
    };
    use tokio::net::TcpListener;

    use crate::dns::rfc2136::message;

    use super::*;

    fn exchange(server: SocketAddr) -> Exchange {
        let name = Name::from_ascii("railhead.").unwrap();
        let signer = TSigner::new(vec![7; 32], TsigAlgorithm::HmacSha256, name, 300);
        Exchange::new(server, signer.unwrap())
    }

    fn question() -> Message {
        message::transfer(&Name::from_ascii("example.test.").unwrap())
    }

    /// Answers one question as `answer` says.
    async fn server(answer: impl FnOnce(Message) -> Message + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await.unwrap();
            let answer = answer(Message::from_vec(&bytes).unwrap());
            let bytes = answer.to_vec().unwrap();
            let length = u16::try_from(bytes.len()).unwrap();
            stream.write_u16(length).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        });
        address
    }

    async fn asked(server: SocketAddr) -> Error {
        let take = |_: &Message| Ok(Next::Done);
        exchange(server)
            .ask(question(), "answer", take)
            .await
            .unwrap_err()
    }

    #[tokio::test]
    async fn an_answer_that_is_not_signed_counts_for_nothing() {
        let address =
            server(|question| Message::response(question.metadata.id, question.metadata.op_code))
                .await;
        let refused = asked(address).await;
        assert!(refused.to_string().contains("not signed well"), "{refused}");
    }

    #[tokio::test]
    async fn an_answer_to_another_question_counts_for_nothing() {
        let address = server(|question| {
            Message::response(
                question.metadata.id.wrapping_add(1),
                question.metadata.op_code,
            )
        })
        .await;
        let refused = asked(address).await;
        assert!(
            refused.to_string().contains("another question"),
            "{refused}"
        );
    }

    #[test]
    fn a_message_that_is_too_long_is_not_cut() {
        let mut message = question();
        for n in 0..6_000_u32 {
            let name = Name::from_ascii(format!("h{n}.example.test.")).unwrap();
            let data = RData::A(A::new(192, 0, 2, 1));
            message.add_authority(Record::from_rdata(name, 60, data));
        }
        let address = SocketAddr::from(([127, 0, 0, 1], 53));
        let refused = exchange(address).sign(&mut message).err().unwrap();
        assert!(matches!(refused, Error::Limit(_)), "{refused}");
    }
}
