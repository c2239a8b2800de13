// What a message may be, by Slack's own types; blocks of kinds that Slack does not know are refused.
import type { KnownBlock, MessageAttachment, MessageMetadata } from "@slack/types";

export interface Message {
  text: string;
  blocks: KnownBlock[];
  attachments?: (Omit<MessageAttachment, "blocks"> & { blocks: KnownBlock[] })[];
  metadata?: MessageMetadata;
  unfurl_links?: boolean;
  unfurl_media?: boolean;
  response_type?: "ephemeral" | "in_channel";
  replace_original?: boolean;
}
