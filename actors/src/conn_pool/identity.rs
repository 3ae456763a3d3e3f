//! Who is at the other end: TLS 1.3 with raw public keys (RFC 7250) on both sides. A node's key is its certificate;
//! there is no authority, no name and no date. Both sides prove in the handshake that they have the private half.

use std::sync::Arc;

use proto::{NodeId, NodeKey};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key},
    pki_types::{
        CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime, pem::PemObject,
    },
    server::{
        AlwaysResolvesServerRawPublicKeys,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};

use crate::error::ActorError;

/// What this node shows of itself in every handshake.
#[derive(Clone)]
pub(super) struct Identity {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
}

impl Identity {
    /// That of the node with this key.
    pub(super) fn new(key: &NodeKey) -> Result<Self, ActorError> {
        let private =
            PrivatePkcs8KeyDer::from_pem_slice(key.to_pem().as_bytes()).map_err(|error| broken(&error))?;
        let signer = ring::sign::any_eddsa_type(&private).map_err(|error| broken(&error))?;
        let public = CertificateDer::from([SPKI_HEAD.as_slice(), key.id().as_bytes()].concat());
        let key = Arc::new(CertifiedKey::new(vec![public], signer));
        Ok(Self { provider: Arc::new(ring::default_provider()), key })
    }

    /// For those who dial us: any key will do, as long as its private half is there. Who is welcome is decided by id.
    pub(super) fn server(&self) -> Result<QuicServerConfig, ActorError> {
        self.server_of(&[ALPN, PROBE_ALPN])
    }

    /// The same with other protocols.
    pub(super) fn server_of(&self, protocols: &[&[u8]]) -> Result<QuicServerConfig, ActorError> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| broken(&error))?
            .with_client_cert_verifier(Arc::new(AnyNode(self.provider.clone())))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // A session that is resumed saves little, and its tickets would let others see who returns.
        config.send_tls13_tickets = 0;
        QuicServerConfig::try_from(config).map_err(|error| broken(&error))
    }

    /// For dialling one node: no other key is accepted.
    pub(super) fn client(&self, expected: NodeId, protocol: &[u8]) -> Result<QuicClientConfig, ActorError> {
        let verifier = OneNode { provider: self.provider.clone(), expected };
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| broken(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.key.clone())));
        if !protocol.is_empty() {
            config.alpn_protocols = vec![protocol.to_vec()];
        }
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        QuicClientConfig::try_from(config).map_err(|error| broken(&error))
    }
}

/// The node at the other end; its handshake has proven it. `None` only before the handshake is done.
pub(super) fn peer(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let certificates = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    node_id(certificates.first()?).ok()
}

/// Whether the other side has only seen whether it can dial this node, and wants no connection.
pub(super) fn is_probe(connection: &quinn::Connection) -> bool {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    data.is_some_and(|data| data.protocol.as_deref() == Some(PROBE_ALPN))
}

/// The id in a public key as TLS carries it (RFC 8410 §4: 12 bytes that say Ed25519, and the key).
fn node_id(spki: &[u8]) -> Result<NodeId, Error> {
    spki.strip_prefix(&SPKI_HEAD)
        .and_then(|key| NodeId::try_from(key).ok())
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

fn check_signature(
    provider: &CryptoProvider,
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    node_id(key)?;
    let key = SubjectPublicKeyInfoDer::from(key.as_ref());
    verify_tls13_signature_with_raw_key(message, &key, signature, &provider.signature_verification_algorithms)
}

#[derive(Debug)]
struct AnyNode(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyNode {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        node_id(key).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(&self.0, message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct OneNode {
    provider: Arc<CryptoProvider>,
    expected: NodeId,
}

impl ServerCertVerifier for OneNode {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if node_id(key)? == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(&self.provider, message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn broken(error: &dyn std::error::Error) -> ActorError {
    ActorError::Network { reason: format!("TLS cannot be set up with this node's key: {error}") }
}

/// The protocol that both ends must speak.
pub(super) const ALPN: &[u8] = b"tesseras/1";
/// The same for a handshake that only shows that a node can be dialled.
pub(super) const PROBE_ALPN: &[u8] = b"tesseras/1 probe";
/// What stands before an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410 §4).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
