import {
  DEAD_LETTER_DDL,
  LOG_POSITION_DDL,
  OUTBOX_DDL,
  SqlMigration,
} from '#libs/platform/postgres';

const KEYS_DDL = `
CREATE TABLE virtual_key (
  key_id         uuid        PRIMARY KEY,
  org_id         text        NOT NULL,
  name           text        NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
  user_id        text        NOT NULL CHECK (length(user_id) BETWEEN 1 AND 255),
  user_email     text,
  team_id        text,
  team_record_id uuid,
  secret_name    text        UNIQUE,
  enabled        boolean     NOT NULL,
  deleted_at     timestamptz,
  expires_at     timestamptz,
  allowed_models jsonb       NOT NULL,
  metadata       jsonb       NOT NULL,
  rev            integer     NOT NULL CHECK (rev >= 1),
  created_at     timestamptz NOT NULL,
  updated_at     timestamptz NOT NULL
);
CREATE INDEX virtual_key_by_owner ON virtual_key (org_id, user_id, created_at, key_id);
CREATE INDEX virtual_key_by_team ON virtual_key (team_record_id) WHERE team_record_id IS NOT NULL;

CREATE TABLE key_digest (
  digest         text        PRIMARY KEY CHECK (digest ~ '^[0-9a-f]{64}$'),
  key_id         uuid        NOT NULL REFERENCES virtual_key,
  pepper_version text        NOT NULL,
  valid_until    timestamptz,
  created_at     timestamptz NOT NULL
);
CREATE UNIQUE INDEX key_digest_current ON key_digest (key_id) WHERE valid_until IS NULL;
CREATE INDEX key_digest_by_key ON key_digest (key_id);

CREATE TABLE idempotent_answer (
  caller      text        NOT NULL,
  route       text        NOT NULL,
  key         text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  body_digest text        NOT NULL,
  status      integer     NOT NULL,
  answer      text        NOT NULL,
  created_at  timestamptz NOT NULL,
  PRIMARY KEY (caller, route, key)
);
CREATE INDEX idempotent_answer_by_age ON idempotent_answer (created_at);
`;

const TEAMS_DDL = `
CREATE TABLE team (
  record_id   uuid        PRIMARY KEY,
  org_id      text        NOT NULL,
  team_id     text        NOT NULL CHECK (length(team_id) BETWEEN 1 AND 63),
  team_name   text        NOT NULL,
  description text        NOT NULL,
  policy      text        NOT NULL,
  rev         integer     NOT NULL CHECK (rev >= 1),
  created_at  timestamptz NOT NULL,
  deleted_at  timestamptz
);
CREATE UNIQUE INDEX team_live ON team (org_id, team_id) WHERE deleted_at IS NULL;

CREATE TABLE policy (
  org_id      text        NOT NULL,
  name        text        NOT NULL,
  unlimited   boolean     NOT NULL,
  token_limit bigint,
  time_window text,
  rev         integer     NOT NULL CHECK (rev >= 1),
  PRIMARY KEY (org_id, name),
  CHECK (unlimited = (token_limit IS NULL) AND unlimited = (time_window IS NULL))
);
`;

const BUDGETS_DDL = `
CREATE TABLE budget_definition (
  budget_id   uuid           PRIMARY KEY,
  org_id      text           NOT NULL,
  scope       text           NOT NULL CHECK (scope IN ('key', 'team', 'user', 'organisation')),
  scope_id    text           NOT NULL,
  period      text           NOT NULL
              CHECK (period IN ('hourly', 'daily', 'weekly', 'monthly', 'total')),
  limit_usd   numeric(38,12) NOT NULL CHECK (limit_usd >= 0),
  timezone    text           NOT NULL,
  week_start  text           NOT NULL,
  thresholds  jsonb          NOT NULL,
  enabled     boolean        NOT NULL,
  fail_policy text           NOT NULL CHECK (fail_policy IN ('closed', 'bounded_open')),
  rev         integer        NOT NULL CHECK (rev >= 1),
  created_at  timestamptz    NOT NULL,
  updated_at  timestamptz    NOT NULL,
  deleted_at  timestamptz
);
CREATE UNIQUE INDEX budget_definition_live ON budget_definition (org_id, scope, scope_id, period)
  WHERE deleted_at IS NULL;

CREATE TABLE budget_state (
  budget_id  uuid        PRIMARY KEY,
  scope      text        NOT NULL,
  subject_id text        NOT NULL,
  epoch      bigint      NOT NULL,
  budget_rev bigint      NOT NULL,
  exhausted  boolean     NOT NULL,
  period     text        NOT NULL,
  resets_at  text,
  updated_at timestamptz NOT NULL
);
`;

const PRICES_DDL = `
CREATE TABLE price_entry (
  price_id    text        PRIMARY KEY CHECK (price_id ~ '^[0-9a-f]{64}$'),
  body        text        NOT NULL,
  recorded_at timestamptz NOT NULL
);
CREATE TABLE price_version (
  seq         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  version     text        NOT NULL CHECK (version ~ '^[0-9a-f]{64}$'),
  price_ids   jsonb       NOT NULL,
  source      text        NOT NULL,
  recorded_at timestamptz NOT NULL
);
`;

const AUDIT_DDL = `
CREATE TABLE audit_event (
  seq         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  occurred_at timestamptz NOT NULL,
  org_id      text        NOT NULL,
  actor       text        NOT NULL,
  action      text        NOT NULL,
  subject     text        NOT NULL,
  details     jsonb       NOT NULL
);
REVOKE UPDATE, DELETE, TRUNCATE ON audit_event FROM tollgate_auth;
REVOKE UPDATE, DELETE, TRUNCATE ON price_entry FROM tollgate_auth;
REVOKE UPDATE, DELETE, TRUNCATE ON price_version FROM tollgate_auth;
`;

/** Keys, teams, budget definitions, prices, the audit trail, and the tables of the log. */
export class CreateControlState extends SqlMigration {
  readonly number = 1;
  readonly title = 'create_control_state';
  readonly sql = [
    KEYS_DDL,
    TEAMS_DDL,
    BUDGETS_DDL,
    PRICES_DDL,
    AUDIT_DDL,
    DEAD_LETTER_DDL,
    LOG_POSITION_DDL,
    OUTBOX_DDL,
  ].join('\n');
}
