import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { parseAllDocuments } from 'yaml';

import { PROJECT, textOf } from './dockerfile.js';

/** Where the manifests are, below the clone. */
export const MANIFESTS = 'deploy/kubernetes';

/** A manifest as it is written; the schemas say whether it is one. */
export interface Manifest {
  readonly file: string;
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly [member: string]: unknown;
}

/** A variable of a container. */
export interface ContainerVariable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly configMapKeyRef?: { readonly name: string; readonly key: string };
    readonly secretKeyRef?: {
      readonly name: string;
      readonly key: string;
      readonly optional?: boolean;
    };
  };
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

/** What the tests look at of a container. */
export interface Container {
  readonly name: string;
  readonly image: string;
  readonly env: readonly ContainerVariable[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly resources?: {
    readonly requests?: Readonly<Record<string, string>>;
    readonly limits?: Readonly<Record<string, string>>;
  };
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

/** What the tests look at of a pod. */
export interface PodSpec {
  readonly containers: readonly [Container];
  readonly automountServiceAccountToken?: boolean;
  readonly enableServiceLinks?: boolean;
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly serviceAccountName?: string;
  readonly terminationGracePeriodSeconds?: number;
  readonly topologySpreadConstraints?: readonly unknown[];
}

/** Something that runs pods. */
export interface Workload {
  readonly manifest: Manifest;
  readonly replicas: number | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly pod: PodSpec;
}

/** Every manifest of a file. */
export function manifestsOf(file: string): readonly Manifest[] {
  return parseAllDocuments(textOf(`${MANIFESTS}/${file}`)).map((document) => {
    if (document.errors.length > 0) throw new Error(`${file}: ${document.errors[0]!.message}`);
    return { ...(document.toJS() as Omit<Manifest, 'file'>), file } as Manifest;
  });
}

/** The files of the folder, in order. */
export function manifestFiles(): readonly string[] {
  return readdirSync(join(PROJECT, MANIFESTS)).toSorted();
}

/** Every manifest but the list of them. */
export function allManifests(): readonly Manifest[] {
  return manifestFiles()
    .filter((file) => file !== 'kustomization.yaml')
    .flatMap(manifestsOf);
}

/** Deployments, stateful sets and jobs. */
export function workloadsOf(manifests: readonly Manifest[]): readonly Workload[] {
  return manifests
    .filter(({ kind }) => ['Deployment', 'StatefulSet', 'Job'].includes(kind))
    .map((manifest) => {
      const { replicas, template } = manifest['spec'] as {
        readonly replicas?: number;
        readonly template: {
          readonly metadata: { readonly labels: Readonly<Record<string, string>> };
          readonly spec: PodSpec;
        };
      };
      return { manifest, replicas, labels: template.metadata.labels, pod: template.spec };
    });
}
