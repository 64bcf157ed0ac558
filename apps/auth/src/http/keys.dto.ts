import { Transform } from 'class-transformer';
import {
  ArrayMaxSize,
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsOptional,
  IsString,
  Length,
  Max,
  Min,
  ValidateIf,
} from 'class-validator';

import { KEY_STATUSES, type KeyStatus } from '#libs/keys/core';

import { IsNotAvailable, IsPositiveUsdNumber, IsSmallObject } from './validation.js';

/** Largest metadata, bytes of JSON. */
const METADATA_BYTES = 16_384;
/** Longest life of a key, days. */
const MAX_EXPIRES_DAYS = 1_000_000;
/** Most entries of an allow-list. */
const MAX_MODELS = 1000;
/** Longest grace of a former secret, seconds. */
const MAX_GRACE_SECONDS = 2_592_000;

const trimmed = ({ value }: { value: unknown }): unknown =>
  typeof value === 'string' ? value.trim() : value;

/** Applies the rules of a member only when it was sent. */
const IsSent = (property: string): PropertyDecorator =>
  ValidateIf((dto: object) => Reflect.get(dto, property) !== undefined);

/** Settings that creating and changing a key share. */
abstract class KeySettingsDto {
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(MAX_MODELS)
  @IsString({ each: true })
  @Length(1, 255, { each: true })
  allowed_models?: string[] | null;

  @IsOptional()
  @IsPositiveUsdNumber()
  max_budget?: number | null;

  @IsNotAvailable('tpm_limit')
  tpm_limit?: null;

  @IsNotAvailable('rpm_limit')
  rpm_limit?: null;

  @IsNotAvailable('rpd_limit')
  rpd_limit?: null;

  @IsNotAvailable('concurrency_limit')
  concurrency_limit?: null;

  @IsOptional()
  @IsSmallObject(METADATA_BYTES)
  metadata?: Record<string, unknown> | null;
}

/** Body of `POST /api/keys`; unknown members, and `user_id`, are ignored. */
export class CreateKeyRequestDto extends KeySettingsDto {
  @Transform(trimmed)
  @IsString()
  @Length(1, 255)
  name!: string;

  @IsOptional()
  @IsString()
  @Length(1, 63)
  team_id?: string | null;

  @IsOptional()
  @IsInt()
  @Min(1)
  @Max(MAX_EXPIRES_DAYS)
  expires_days?: number | null;
}

/** Body of `PUT /api/keys/{id}`; only members that are sent change, others are ignored. */
export class UpdateKeyRequestDto extends KeySettingsDto {
  @Transform(trimmed)
  @IsSent('name')
  @IsString()
  @Length(1, 255)
  name?: string;

  @IsSent('is_active')
  @IsBoolean()
  is_active?: boolean;
}

/** Body of `POST /api/keys/{id}/rotate`. */
export class RotateKeyRequestDto {
  @IsSent('grace_seconds')
  @IsInt()
  @Min(0)
  @Max(MAX_GRACE_SECONDS)
  grace_seconds?: number;
}

/** Query of `GET /api/keys`. */
export class ListKeysQueryDto {
  @IsOptional()
  @IsString()
  team_id?: string;

  @IsOptional()
  @IsIn(KEY_STATUSES)
  status?: KeyStatus;
}
