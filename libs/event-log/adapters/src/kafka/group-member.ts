import { AssignerProtocol, type Broker, type Cluster, type GroupMember } from 'kafkajs';

import type { KafkaLink } from './kafka-connection.js';
import { isKafkaError } from './kafka-errors.js';

/** How a member takes part in its group. */
export interface GroupOptions {
  readonly group: string;
  readonly topics: readonly string[];
  /** After this long without a heartbeat the member counts as dead, milliseconds. */
  readonly sessionMs: number;
  /** How long the group waits for a member to come back when it deals partitions out anew, ms. */
  readonly rebalanceMs: number;
}

/** A partition that fell to this member. */
export interface AssignedPartition {
  readonly topic: string;
  readonly partition: number;
}

/** A position to show. */
export interface ShownOffset extends AssignedPartition {
  readonly nextOffset: bigint;
}

/** The requests of a group; the client sends them and does not declare them. */
interface Coordinator extends Pick<Broker, 'offsetCommit'> {
  joinGroup(request: {
    groupId: string;
    sessionTimeout: number;
    rebalanceTimeout: number;
    memberId: string;
    groupProtocols: readonly { name: string; metadata: Buffer }[];
  }): Promise<{
    generationId: number;
    leaderId: string;
    memberId: string;
    members: readonly GroupMember[];
  }>;
  syncGroup(request: {
    groupId: string;
    generationId: number;
    memberId: string;
    groupAssignment: readonly { memberId: string; memberAssignment: Buffer }[];
  }): Promise<{ memberAssignment: Buffer }>;
  heartbeat(request: {
    groupId: string;
    groupGenerationId: number;
    memberId: string;
  }): Promise<unknown>;
  leaveGroup(request: { groupId: string; memberId: string }): Promise<unknown>;
}

/** Whether the group deals its partitions out anew. */
export function isRebalance(error: unknown): boolean {
  return isKafkaError(error, 'REBALANCE_IN_PROGRESS');
}

/** Whether the group has forgotten the member or gone on without it. */
export function isForgotten(error: unknown): boolean {
  return isKafkaError(error, 'UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'FENCED_INSTANCE_ID');
}

/** Whether the group's coordinator is being found, chosen or started, as it is for a new cluster. */
export function isCoordinatorMoving(error: unknown): boolean {
  return isKafkaError(
    error,
    'KafkaJSGroupCoordinatorNotFound',
    'GROUP_COORDINATOR_NOT_AVAILABLE',
    'NOT_COORDINATOR_FOR_GROUP',
    'GROUP_LOAD_IN_PROGRESS',
  );
}

/** Name of our way to deal partitions out; members of other software cannot join the group. */
const ASSIGNER = 'tollgate';

/**
 * One member of a consumer group, request by request. It owns membership alone: the group's stored
 * offsets are written for displays and never read.
 * @source Apache Kafka protocol guide, "Group Membership API"
 */
export class KafkaGroupMember {
  private memberId = '';
  private generationId = -1;
  private coordinator: Coordinator | undefined;

  constructor(
    private readonly link: KafkaLink,
    protected readonly options: GroupOptions,
  ) {}

  /** Joins, or joins again; resolves when the group has dealt its partitions out. */
  async join(): Promise<readonly AssignedPartition[]> {
    const { group: groupId, topics, sessionMs, rebalanceMs } = this.options;
    const cluster = await this.link.cluster();
    return this.ask(cluster, async (coordinator) => {
      const metadata = AssignerProtocol.MemberMetadata.encode({
        version: 0,
        topics: [...topics],
        userData: Buffer.alloc(0),
      });
      const joined = await coordinator.joinGroup({
        groupId,
        sessionTimeout: sessionMs,
        rebalanceTimeout: rebalanceMs,
        memberId: this.memberId,
        groupProtocols: [{ name: ASSIGNER, metadata }],
      });
      const { generationId, memberId } = joined;
      this.memberId = memberId;
      this.generationId = generationId;
      const isLeader = joined.leaderId === memberId;
      const groupAssignment = isLeader ? deal(cluster, topics, joined.members) : [];
      const { memberAssignment } = await coordinator.syncGroup({
        groupId,
        generationId,
        memberId,
        groupAssignment,
      });
      return decode(memberAssignment);
    });
  }

  /** Tells the group that the member lives. @throws an error that `isRebalance` or `isForgotten` */
  async heartbeat(): Promise<void> {
    const { generationId: groupGenerationId, memberId } = this;
    const groupId = this.options.group;
    const cluster = await this.link.cluster();
    await this.ask(cluster, (coordinator) =>
      coordinator.heartbeat({ groupId, groupGenerationId, memberId }),
    );
  }

  /** Stores positions with the group, for displays of its lag. */
  async show(offsets: readonly ShownOffset[]): Promise<void> {
    const { generationId: groupGenerationId, memberId } = this;
    const groupId = this.options.group;
    const topics = offsets.map(({ topic, partition, nextOffset }) => ({
      topic,
      partitions: [{ partition, offset: String(nextOffset) }],
    }));
    const cluster = await this.link.cluster();
    await this.ask(cluster, (coordinator) =>
      coordinator.offsetCommit({ groupId, groupGenerationId, memberId, topics }),
    );
  }

  /** Leaves, so that the others need not wait for the session to end. */
  async leave(): Promise<void> {
    const { memberId } = this;
    const groupId = this.options.group;
    if (memberId === '') return;
    const cluster = await this.link.cluster();
    await this.ask(cluster, (coordinator) => coordinator.leaveGroup({ groupId, memberId }));
    this.memberId = '';
  }

  private async ask<T>(cluster: Cluster, request: (to: Coordinator) => Promise<T>): Promise<T> {
    try {
      this.coordinator ??= (await cluster.findGroupCoordinator({
        groupId: this.options.group,
      })) as unknown as Coordinator;
      return await request(this.coordinator);
    } catch (error) {
      if (isForgotten(error)) this.memberId = '';
      else if (!isRebalance(error)) {
        this.coordinator = undefined;
        await this.link.recover(cluster);
      }
      throw error;
    }
  }
}

/**
 * A holder of fixed partitions: it is dealt nothing and gives no sign of life, and shows its positions
 * as the group's all the same.
 * @source Apache Kafka protocol guide, "OffsetCommit API": generation -1 stands for no membership
 */
export class KafkaFixedMember extends KafkaGroupMember {
  constructor(
    link: KafkaLink,
    options: GroupOptions,
    private readonly fixed: readonly number[],
  ) {
    super(link, options);
  }

  override async join(): Promise<readonly AssignedPartition[]> {
    const { topics } = this.options;
    return topics.flatMap((topic) => this.fixed.map((partition) => ({ topic, partition })));
  }

  override async heartbeat(): Promise<void> {}

  override async show(offsets: readonly ShownOffset[]): Promise<void> {
    try {
      await super.show(offsets);
    } catch (error) {
      // A group that has members as well: whoever wants displays does not run both.
      if (!isForgotten(error) && !isRebalance(error)) throw error;
    }
  }

  override async leave(): Promise<void> {}
}

/** Deals the partitions of each topic out in turn, to the members in the order of their ids. */
function deal(
  cluster: Cluster,
  topics: readonly string[],
  members: readonly GroupMember[],
): { memberId: string; memberAssignment: Buffer }[] {
  const memberIds = members.map(({ memberId }) => memberId).toSorted();
  const shares = new Map(memberIds.map((id) => [id, {} as Record<string, number[]>]));
  let turn = 0;
  for (const topic of topics) {
    const partitions = cluster.findTopicPartitionMetadata(topic).map((found) => found.partitionId);
    for (const partition of partitions.toSorted((one, other) => one - other)) {
      const share = shares.get(memberIds[turn % memberIds.length]!)!;
      (share[topic] ??= []).push(partition);
      turn += 1;
    }
  }
  return [...shares].map(([memberId, assignment]) => ({
    memberId,
    memberAssignment: AssignerProtocol.MemberAssignment.encode({
      version: 0,
      assignment,
      userData: Buffer.alloc(0),
    }),
  }));
}

function decode(memberAssignment: Buffer): readonly AssignedPartition[] {
  const assignment = AssignerProtocol.MemberAssignment.decode(memberAssignment)?.assignment ?? {};
  return Object.entries(assignment).flatMap(([topic, partitions]) =>
    partitions.map((partition) => ({ topic, partition })),
  );
}
