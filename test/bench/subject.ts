/** What is measured: an address, a credential, the processes whose time counts. */
export interface Subject {
  readonly name: SubjectName;
  readonly url: string;
  readonly authorization: string;
  readonly pids: readonly number[];
}

/** Who is measured; `budgeted` is the governed proxy with a key that has a budget. */
export const SUBJECTS = ['direct', 'nginx', 'ungoverned', 'governed', 'budgeted'] as const;
/** One of them. */
export type SubjectName = (typeof SUBJECTS)[number];
