package camsearch.elasticsearch;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;

import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** TLS with certificate authorities of one's own. */
final class Trust {
    private Trust() {}

    /**
     * Trusts the authorities in a file of PEM, and no others.
     *
     * @throws IllegalArgumentException it cannot be read, or holds no certificate
     */
    static SSLContext in(Path pem) {
        try (var stream = Files.newInputStream(pem)) {
            KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            int count = 0;
            for (Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(stream)) {
                store.setCertificateEntry("authority-" + count++, one);
            }
            if (count == 0) {
                throw new IllegalArgumentException("camsearch.certificate_authorities names [" + pem + "], which holds no certificate.");
            }
            TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(store);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, trust.getTrustManagers(), null);
            return context;
        } catch (IOException | GeneralSecurityException error) {
            throw new IllegalArgumentException(
                "camsearch.certificate_authorities names ["
                    + pem
                    + "], which cannot be read: give a PEM file below the configuration folder.",
                error
            );
        }
    }
}
