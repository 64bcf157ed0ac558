import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What a broker needs so that clients come in by TLS and with a login only. */
export interface KafkaLock {
  /** The certificate of the brokers, PEM. */
  readonly certificateFile: string;
  readonly properties: Readonly<Record<string, string>>;
}

/** Opens the broker's own key store, which dies with the test. */
const STORE_PASSWORD = 'test-only';

/**
 * Makes a key, a certificate for `localhost` that signs itself, and the settings of a broker that uses
 * them; about a second, with the `keytool` of the JDK.
 * @source Apache Kafka documentation, "Security", "Authentication using SASL/PLAIN"
 */
export async function makeKafkaLock(
  directory: string,
  login: { readonly username: string; readonly password: string },
): Promise<KafkaLock> {
  const store = join(directory, 'broker.p12');
  const certificateFile = join(directory, 'broker.pem');
  const opened = ['-keystore', store, '-storepass', STORE_PASSWORD, '-alias', 'broker'];
  const kind = ['-storetype', 'PKCS12', '-keyalg', 'EC', '-validity', '30'];
  const names = ['-dname', 'CN=localhost', '-ext', 'san=dns:localhost'];
  await run('keytool', ['-genkeypair', ...opened, ...kind, ...names]);
  await run('keytool', ['-exportcert', '-rfc', ...opened, '-file', certificateFile]);
  const module = 'org.apache.kafka.common.security.plain.PlainLoginModule';
  return {
    certificateFile,
    properties: {
      'ssl.keystore.type': 'PKCS12',
      'ssl.keystore.location': store,
      'ssl.keystore.password': STORE_PASSWORD,
      'sasl.enabled.mechanisms': 'PLAIN',
      'listener.name.client.plain.sasl.jaas.config': `${module} required user_${login.username}="${login.password}";`,
    },
  };
}
