// Guarantee: the manifests pass the schemas of Kubernetes and KEDA, hold together by their names, and
// give each service exactly the settings that its configuration knows and needs. No cluster is needed.
import { ScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject';
import { TriggerAuthentication } from '@kubernetes-models/keda/keda.sh/v1alpha1/TriggerAuthentication';
import { expect, test } from '@jest/globals';
import { Deployment } from 'kubernetes-models/apps/v1/Deployment';
import { StatefulSet } from 'kubernetes-models/apps/v1/StatefulSet';
import { Job } from 'kubernetes-models/batch/v1/Job';
import { Ingress } from 'kubernetes-models/networking.k8s.io/v1/Ingress';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget';
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap';
import { Namespace } from 'kubernetes-models/v1/Namespace';
import { Secret } from 'kubernetes-models/v1/Secret';
import { Service } from 'kubernetes-models/v1/Service';
import { ServiceAccount } from 'kubernetes-models/v1/ServiceAccount';

import { TOPICS } from '#libs/events';
import { loadConfig } from '#libs/platform/config';

import { FILLED_IN } from './compose.js';
import { imageOf } from './dockerfile.js';
import {
  allManifests,
  manifestFiles,
  manifestsOf,
  workloadsOf,
  type Container,
  type Manifest,
  type Workload,
} from './manifests.js';
import { edgeRoutes } from './routes.js';
import { configurationOf, credentialVariables, settingsOf } from './settings.js';

/** Each kind that the manifests use, with the schema that judges it. */
const KINDS = {
  'apps/v1 Deployment': Deployment,
  'apps/v1 StatefulSet': StatefulSet,
  'batch/v1 Job': Job,
  'keda.sh/v1alpha1 ScaledObject': ScaledObject,
  'keda.sh/v1alpha1 TriggerAuthentication': TriggerAuthentication,
  'networking.k8s.io/v1 Ingress': Ingress,
  'networking.k8s.io/v1 NetworkPolicy': NetworkPolicy,
  'policy/v1 PodDisruptionBudget': PodDisruptionBudget,
  'v1 ConfigMap': ConfigMap,
  'v1 Namespace': Namespace,
  'v1 Secret': Secret,
  'v1 Service': Service,
  'v1 ServiceAccount': ServiceAccount,
} as const;

const manifests = allManifests();
const named = manifests.map((one) => [`${one.kind} ${one.metadata.name}`, one] as const);
const workloads = workloadsOf(manifests).map((one) => [one.manifest.metadata.name, one] as const);
const services = workloads.filter(([, { manifest }]) => manifest.kind !== 'Job');

function find(kind: string, name: string): Manifest {
  const found = manifests.find((one) => one.kind === kind && one.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
}

function containerOf({ pod }: Workload): Container {
  return pod.containers[0];
}

function imageName(workload: Workload): string {
  return containerOf(workload).image.replace('tollgate/', '');
}

const settings = find('ConfigMap', 'tollgate-settings')['data'] as Readonly<Record<string, string>>;
const secrets = find('Secret', 'tollgate-secrets')['stringData'] as Readonly<
  Record<string, string>
>;

/** Something of the right shape for each secret of the example. */
function secretValue(key: string): string {
  if (key.endsWith('_URL')) return (secrets[key] ?? '').replace('replace-me', 'x');
  return FILLED_IN[key] === '' ? 'x' : (FILLED_IN[key] ?? 'x');
}

/** The environment of a container, as the cluster would give it. @throws Error for a missing source */
function environmentOf(workload: Workload): Record<string, string> {
  return Object.fromEntries(
    containerOf(workload).env.map(({ name, value, valueFrom }) => {
      if (value !== undefined) return [name, value];
      const { configMapKeyRef: map, secretKeyRef: secret } = valueFrom ?? {};
      const source = map === undefined ? secrets : settings;
      const { name: from, key } = map ?? secret!;
      expect(from).toBe(map === undefined ? 'tollgate-secrets' : 'tollgate-settings');
      if (source[key] === undefined) throw new Error(`${name}: there is no ${key} in ${from}`);
      return [name, map === undefined ? secretValue(key) : source[key]];
    }),
  );
}

test.each(named)('%s passes the schema of its kind', (_, manifest) => {
  const kind = `${manifest.apiVersion} ${manifest.kind}`;
  expect(Object.keys(KINDS)).toContain(kind);
  const { file: _file, ...content } = manifest;
  const Model = KINDS[kind as keyof typeof KINDS] as unknown as new (data: object) => {
    validate(): void;
  };
  expect(() => new Model(content).validate()).not.toThrow();
});

test('a fault in a manifest would be seen', () => {
  const { file: _file, ...content } = find('Deployment', 'metering');
  const spec = { ...(content['spec'] as object), replicas: 'four' };
  expect(() => new Deployment({ ...content, spec } as never).validate()).toThrow(/replicas/);
  const { file: _other, ...scaler } = find('ScaledObject', 'metering');
  expect(() => new ScaledObject({ ...scaler, spec: {} } as never).validate()).toThrow(/triggers/);
});

test('everything but the example of the Secret is applied, under names of its own', () => {
  const [list] = manifestsOf('kustomization.yaml');
  const applied = list!['resources'] as readonly string[];
  const files = manifestFiles().filter((file) => file !== 'kustomization.yaml');
  expect(applied.toSorted()).toEqual(files.filter((file) => file !== 'secret.example.yaml'));
  const ids = manifests.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { kind, metadata } of manifests) {
    expect(metadata.namespace).toBe(kind === 'Namespace' ? undefined : 'tollgate');
  }
});

test('every image is a target of the Dockerfile, and the list says where it is kept', () => {
  const [list] = manifestsOf('kustomization.yaml');
  const kept = list!['images'] as readonly { readonly name: string; readonly newTag: string }[];
  const used = workloads.map(([, workload]) => containerOf(workload).image);
  expect(kept.map(({ name }) => name).toSorted()).toEqual(used.toSorted());
  for (const { newTag } of kept) expect(newTag).toMatch(/^\d+\.\d+\.\d+$/);
  for (const [name, workload] of workloads) {
    expect(imageName(workload)).toBe(name);
    expect(imageOf(name).command.length).toBeGreaterThan(1);
  }
});

test.each(workloads)(
  '%s is given no variable that its configuration does not know',
  async (name, one) => {
    const known = new Set((await settingsOf(name)).map((setting) => setting.name));
    if (name === 'proxy') credentialVariables().forEach((variable) => known.add(variable));
    const given = containerOf(one).env.map((variable) => variable.name);
    expect(given.filter((variable) => !known.has(variable))).toEqual([]);
    expect(new Set(given).size).toBe(given.length);
  },
);

test.each(workloads)('%s starts with what it is given', async (name, workload) => {
  const environment = { ...imageOf(name).environment, ...environmentOf(workload) };
  const configuration = await configurationOf(name);
  expect(loadConfig(configuration, environment)).toBeInstanceOf(configuration);
});

test.each(workloads)(
  '%s is told where the engines and services are that it can use',
  async (name, one) => {
    const engines = ['KAFKA_BROKERS', 'REDIS_URL', 'DATABASE_URL', 'CLICKHOUSE_URL'];
    const wanted = (await settingsOf(name))
      .filter(
        (setting) =>
          engines.includes(setting.name) ||
          (/127\.0\.0\.1:/.test(setting.fallback ?? '') && setting.name !== 'SIMULATOR_URL'),
      )
      .map((setting) => setting.name);
    const given = containerOf(one).env.map((variable) => variable.name);
    expect(wanted.filter((variable) => !given.includes(variable))).toEqual([]);
  },
);

test('every secret and every setting is used, and a secret is never a plain value', () => {
  const variables = workloads.flatMap(([, workload]) => containerOf(workload).env);
  const secretKeys = variables.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef?.key ?? []);
  const settingKeys = variables.flatMap(({ valueFrom }) => valueFrom?.configMapKeyRef?.key ?? []);
  expect(new Set(secretKeys)).toEqual(new Set(Object.keys(secrets)));
  expect(new Set(settingKeys)).toEqual(new Set(Object.keys(settings)));
  const plain = variables.filter(({ value }) => value !== undefined).map(({ name }) => name);
  expect(
    plain.filter((name) => /SECRET|PASSWORD|TOKEN|PEPPER|API_KEY|DATABASE/.test(name)),
  ).toEqual([]);
});

test.each(workloads)(
  '%s has the rights that the restricted profile leaves, and no more',
  (_, one) => {
    const { pod } = one;
    expect(pod.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: 65_532,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(containerOf(one).securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(pod.automountServiceAccountToken).toBe(false);
    expect(pod.serviceAccountName).toBe(find('ServiceAccount', 'tollgate').metadata.name);
    // Kubernetes would add variables like METERING_PORT, which the configuration refuses.
    expect(pod.enableServiceLinks).toBe(false);
    const { requests, limits } = containerOf(one).resources ?? {};
    expect(Object.keys(requests ?? {})).toEqual(['cpu', 'memory']);
    expect(Object.keys(limits ?? {})).toEqual(['memory']);
  },
);

test.each(workloads)('%s runs as the user of its image', (name, { pod }) => {
  const { runAsUser, runAsGroup } = pod.securityContext ?? {};
  expect(imageOf(name).user).toBe(`${String(runAsUser)}:${String(runAsGroup)}`);
});

test.each(services)('%s is asked for its health at its port', (name, workload) => {
  const { ports, startupProbe, livenessProbe, readinessProbe } = containerOf(workload);
  expect(ports).toEqual([{ name: 'http', containerPort: Number(imageOf(name).ports[0]) }]);
  expect(startupProbe?.httpGet).toEqual({ path: '/health/live', port: 'http' });
  expect(livenessProbe?.httpGet).toEqual({ path: '/health/live', port: 'http' });
  expect(readinessProbe?.httpGet).toEqual({ path: '/health/ready', port: 'http' });
});

test.each(services)(
  '%s is found by its Service, and keeps all but one through a drain',
  (name, one) => {
    const service = find('Service', name)['spec'] as {
      readonly selector: Readonly<Record<string, string>>;
      readonly ports: readonly unknown[];
    };
    const port = Number(imageOf(name).ports[0]);
    expect(service.ports).toEqual([{ name: 'http', port, targetPort: 'http' }]);
    expect(one.labels).toMatchObject(service.selector);
    const budget = find('PodDisruptionBudget', name)['spec'] as {
      readonly maxUnavailable: number;
      readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    };
    expect(budget.maxUnavailable).toBe(1);
    expect(one.labels).toMatchObject(budget.selector.matchLabels);
    expect(one.pod.topologySpreadConstraints).toHaveLength(2);
  },
);

test('every address of a service is that of a Service and its port', () => {
  for (const [name, workload] of workloads) {
    for (const { name: variable, value } of containerOf(workload).env) {
      if (value === undefined || !variable.endsWith('_URL')) continue;
      const { hostname, port } = new URL(value);
      expect(find('Service', hostname).kind).toBe('Service');
      expect([name, variable, port]).toEqual([name, variable, imageOf(hostname).ports[0]]);
    }
  }
});

test('a proxy has a spool of its own, that outlives it, and time to drain', () => {
  const { manifest, pod } = workloads.find(([name]) => name === 'proxy')![1];
  expect(manifest.kind).toBe('StatefulSet');
  const spec = manifest['spec'] as {
    readonly serviceName: string;
    readonly persistentVolumeClaimRetentionPolicy: unknown;
    readonly volumeClaimTemplates: readonly [
      {
        readonly metadata: { readonly name: string };
        readonly spec: { readonly accessModes: readonly string[] };
      },
    ];
  };
  const [claim] = spec.volumeClaimTemplates;
  expect(claim.spec.accessModes).toEqual(['ReadWriteOncePod']);
  expect(spec.persistentVolumeClaimRetentionPolicy).toEqual({
    whenDeleted: 'Retain',
    whenScaled: 'Retain',
  });
  expect(find('Service', spec.serviceName)['spec']).toMatchObject({ clusterIP: 'None' });
  const container = pod.containers[0];
  const folder = imageOf('proxy').environment['SPOOL_DIR'];
  expect(container.volumeMounts).toContainEqual({ name: claim.metadata.name, mountPath: folder });
  const drain = container.env.find(({ name }) => name === 'DRAIN_SECONDS')?.value;
  expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(Number(drain) + 30);
});

test('metering is scaled by its lag, up to one process for each partition', () => {
  const { spec } = find('ScaledObject', 'metering') as unknown as {
    readonly spec: {
      readonly scaleTargetRef: { readonly kind: string; readonly name: string };
      readonly minReplicaCount: number;
      readonly maxReplicaCount: number;
      readonly triggers: readonly [
        {
          readonly type: string;
          readonly metadata: Readonly<Record<string, string>>;
          readonly authenticationRef: { readonly name: string };
        },
      ];
    };
  };
  const target = workloads.find(([name]) => name === spec.scaleTargetRef.name)![1];
  expect(target.manifest.kind).toBe(spec.scaleTargetRef.kind);
  // Otherwise applying the manifests again would take back what the scaler has decided.
  expect(target.replicas).toBeUndefined();
  expect(spec.maxReplicaCount).toBe(Number(settings['LOG_PARTITIONS']));
  expect(spec.minReplicaCount).toBeGreaterThan(0);
  const [{ type, metadata, authenticationRef }] = spec.triggers;
  expect(type).toBe('kafka');
  expect(metadata['bootstrapServers']).toBe(settings['KAFKA_BROKERS']);
  expect(metadata['topic']).toBe(TOPICS.requestCompleted);
  expect(metadata['consumerGroup']).toBe(`metering.${TOPICS.requestCompleted}`);
  expect(metadata['sasl']).toBe(
    settings['KAFKA_SASL_MECHANISM']?.replace('scram-sha-', 'scram_sha'),
  );
  expect(metadata['tls']).toBe(settings['KAFKA_SSL'] === 'false' ? 'disable' : 'enable');
  const { secretTargetRef: login } = find('TriggerAuthentication', authenticationRef.name)[
    'spec'
  ] as {
    readonly secretTargetRef: readonly { readonly name: string; readonly key: string }[];
  };
  expect(login.map(({ name }) => name)).toEqual(['tollgate-secrets', 'tollgate-secrets']);
  expect(login.map(({ key }) => key).filter((key) => secrets[key] === undefined)).toEqual([]);
});

test('connections are refused unless a policy names who may open them', () => {
  const policies = manifests.filter(({ kind }) => kind === 'NetworkPolicy');
  expect(find('NetworkPolicy', 'nobody-by-default')['spec']).toEqual({
    podSelector: {},
    policyTypes: ['Ingress'],
  });
  for (const policy of policies) {
    const { ingress = [] } = policy['spec'] as {
      readonly ingress?: readonly { readonly ports: unknown; readonly from: readonly unknown[] }[];
    };
    for (const rule of ingress) {
      expect(rule.ports).toEqual([{ protocol: 'TCP', port: 'http' }]);
      expect(rule.from.length).toBeGreaterThan(0);
    }
  }
  expect(find('Namespace', 'tollgate').metadata.labels).toMatchObject({
    'pod-security.kubernetes.io/enforce': 'restricted',
  });
});

test('from outside the same paths lead to the same services as at the edge of the compose file', () => {
  const { rules } = find('Ingress', 'tollgate')['spec'] as {
    readonly rules: readonly [
      {
        readonly http: {
          readonly paths: readonly {
            readonly path: string;
            readonly backend: { readonly service: { readonly name: string } };
          }[];
        };
      },
    ];
  };
  const paths = rules[0].http.paths.map(({ path, backend }) => [path, backend.service.name]);
  const atEdge = edgeRoutes().map(({ prefix, service }) => [prefix.replace(/\/$/, ''), service]);
  expect(Object.fromEntries(paths)).toEqual(Object.fromEntries(atEdge));
});
