//! The keys of TLS (`SslConfigs`, `BrokerSecurityConfigs`).

use super::{key, unset};
use crate::config::def::ConfigDef;
use crate::config::def::Kind::{Boolean, Class, List, Password, String};
use crate::config::unused::{NO_CLASSES, NO_SECURITY};

/// By name.
pub static KEYS: &[ConfigDef] = &[
    key("ssl.allow.dn.changes", Boolean, "false")
        .unused(NO_SECURITY)
        .doc("Whether a new certificate may have another name."),
    key("ssl.allow.san.changes", Boolean, "false")
        .unused(NO_SECURITY)
        .doc("Whether a new certificate may have other alternative names."),
    key("ssl.cipher.suites", List, "")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The cipher suites that are allowed; all where empty."),
    key("ssl.client.auth", String, "none")
        .one_of(&["required", "requested", "none"])
        .per_broker()
        .unused(NO_SECURITY)
        .doc("Whether clients must show a certificate."),
    key("ssl.enabled.protocols", List, "TLSv1.2,TLSv1.3")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The versions of TLS that are allowed."),
    key("ssl.endpoint.identification.algorithm", String, "https")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("How a server's name is compared with its certificate."),
    unset("ssl.engine.factory.class", Class)
        .per_broker()
        .unused(NO_CLASSES)
        .doc("The class that makes TLS engines."),
    unset("ssl.key.password", Password)
        .per_listener()
        .unused(NO_SECURITY)
        .doc("The password of the private key."),
    key("ssl.keymanager.algorithm", String, "SunX509")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The algorithm of the key manager."),
    unset("ssl.keystore.certificate.chain", Password)
        .per_listener()
        .unused(NO_SECURITY)
        .doc("The certificate chain, as PEM."),
    unset("ssl.keystore.key", Password).per_listener().unused(NO_SECURITY).doc("The private key, as PEM."),
    unset("ssl.keystore.location", String)
        .per_listener()
        .unused(NO_SECURITY)
        .doc("The file of the key store."),
    unset("ssl.keystore.password", Password)
        .per_listener()
        .unused(NO_SECURITY)
        .doc("The password of the key store."),
    key("ssl.keystore.type", String, "JKS")
        .per_listener()
        .unused(NO_SECURITY)
        .doc("The format of the key store."),
    key("ssl.principal.mapping.rules", String, "DEFAULT")
        .unused(NO_SECURITY)
        .doc("How a certificate's name becomes a principal."),
    key("ssl.protocol", String, "TLSv1.3")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The version of TLS that is preferred."),
    unset("ssl.provider", String).per_broker().unused(NO_SECURITY).doc("The provider of TLS."),
    unset("ssl.secure.random.implementation", String)
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The source of chance for TLS."),
    key("ssl.trustmanager.algorithm", String, "PKIX")
        .per_broker()
        .unused(NO_SECURITY)
        .doc("The algorithm of the trust manager."),
    unset("ssl.truststore.certificates", Password)
        .per_listener()
        .unused(NO_SECURITY)
        .doc("The trusted certificates, as PEM."),
    unset("ssl.truststore.location", String)
        .per_listener()
        .unused(NO_SECURITY)
        .doc("The file of the trust store."),
    unset("ssl.truststore.password", Password)
        .per_listener()
        .unused(NO_SECURITY)
        .doc("The password of the trust store."),
    key("ssl.truststore.type", String, "JKS")
        .per_listener()
        .unused(NO_SECURITY)
        .doc("The format of the trust store."),
];
