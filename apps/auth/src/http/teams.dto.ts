import { IsInt, IsNotEmpty, IsOptional, IsString, MaxLength } from 'class-validator';

import { IsLabel, IsTimeWindow } from './validation.js';

/** Body of `POST /teams`; unknown members are ignored. */
export class CreateTeamRequestDto {
  @IsLabel()
  team_id!: string;

  @IsString()
  @IsNotEmpty()
  @MaxLength(255)
  team_name!: string;

  @IsOptional()
  @IsString()
  @MaxLength(4096)
  description?: string | null;

  @IsOptional()
  @IsLabel()
  policy?: string | null;

  @IsOptional()
  @IsInt()
  token_limit?: number | null;

  @IsOptional()
  @IsTimeWindow()
  time_window?: string | null;
}
