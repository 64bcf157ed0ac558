import { maxPicoUsd, picoUsd, toRfc3339, uuidHex, ZERO_PICO_USD } from '#libs/kernel';

import type { KeyView } from '../use-cases/live-figures.js';
import { usdJsonNumber } from './decimal-number.js';

/** A key as `/api/keys` shows it: amounts are JSON numbers with exact digits; never a secret. */
export function toKeyResponse(view: KeyView): object {
  const { key, maxBudgetPicoUsd: limit, spentPicoUsd: spent } = view;
  return {
    id: uuidHex(key.keyId),
    name: key.name,
    user_id: key.userId,
    team_id: key.teamId,
    created_at: toRfc3339(key.createdAtMs),
    expires_at: key.expiresAtMs === null ? null : toRfc3339(key.expiresAtMs),
    status: view.status,
    allowed_models: key.allowedModels,
    max_budget: limit === null ? null : usdJsonNumber(limit),
    spent: usdJsonNumber(spent),
    budget_remaining:
      limit === null ? null : usdJsonNumber(maxPicoUsd(ZERO_PICO_USD, picoUsd(limit - spent))),
    tpm_limit: null,
    rpm_limit: null,
    rpd_limit: null,
    concurrency_limit: null,
    last_used: view.lastUsedMs === null ? null : toRfc3339(view.lastUsedMs),
    total_requests: view.requests,
    metadata: key.metadata,
  };
}
