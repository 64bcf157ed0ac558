import {
  IsBoolean,
  IsIn,
  IsInt,
  IsOptional,
  IsString,
  IsUUID,
  Length,
  Max,
  Min,
  ValidateIf,
} from 'class-validator';
import { Transform } from 'class-transformer';

import { IsOneOfAvailable, IsThresholds, IsTimeZone, IsUsdText } from './validation.js';

/** Every scope a budget may have. */
const SCOPES = ['key', 'team', 'user', 'organisation'] as const;
/** Every period a budget may have. */
const PERIODS = ['hourly', 'daily', 'weekly', 'monthly', 'total'] as const;
const WEEK_DAYS = [
  'monday',
  'tuesday',
  'wednesday',
  'thursday',
  'friday',
  'saturday',
  'sunday',
] as const;

/** Rules of a member hold only when it was sent; null is not taken. */
const IsSent = (property: string): PropertyDecorator =>
  ValidateIf((dto: object) => Reflect.get(dto, property) !== undefined);

/** Settings of a row; an absent one takes its default. */
abstract class BudgetSettingsDto {
  @IsUsdText()
  limit_usd!: string;

  @IsSent('timezone')
  @IsTimeZone()
  timezone?: string;

  @IsSent('week_start')
  @IsIn(WEEK_DAYS)
  week_start?: string;

  @IsSent('thresholds')
  @IsThresholds()
  thresholds?: number[];

  @IsSent('enabled')
  @IsBoolean()
  enabled?: boolean;

  @IsSent('fail_policy')
  @IsOneOfAvailable(['closed'])
  fail_policy?: 'closed';
}

/** Body of `PUT /api/budgets`. */
export class PutBudgetRequestDto extends BudgetSettingsDto {
  @IsOneOfAvailable(['key', 'team'])
  scope!: 'key' | 'team';

  @IsString()
  @Length(1, 255)
  scope_id!: string;

  @IsOneOfAvailable(['total'])
  period!: 'total';
}

/** Body of `PUT /api/budgets/{id}`; the target may be left out. */
export class ReplaceBudgetRequestDto extends BudgetSettingsDto {
  @IsSent('scope')
  @IsIn(SCOPES)
  scope?: (typeof SCOPES)[number];

  @IsSent('scope_id')
  @IsString()
  @Length(1, 255)
  scope_id?: string;

  @IsSent('period')
  @IsIn(PERIODS)
  period?: (typeof PERIODS)[number];
}

const toNumber = ({ value }: { value: unknown }): unknown =>
  typeof value === 'string' && /^\d{1,6}$/.test(value) ? Number(value) : value;

/** Query of `GET /api/budgets`. */
export class ListBudgetsQueryDto {
  @IsOptional()
  @IsIn(SCOPES)
  scope?: (typeof SCOPES)[number];

  @IsOptional()
  @IsString()
  scope_id?: string;

  @IsOptional()
  @IsIn(PERIODS)
  period?: (typeof PERIODS)[number];

  @IsOptional()
  @IsIn(['true', 'false'])
  enabled?: 'true' | 'false';

  @IsOptional()
  @Transform(toNumber)
  @IsInt()
  @Min(1)
  @Max(1000)
  limit?: number;

  /** The last id of the page before. */
  @IsOptional()
  @IsUUID()
  page?: string;
}
