-- Invitation tokens that serve several friends, for a time: each line of the file `kith_tokens_file` is a token, the second of its end
-- (since 1970) and how many accounts it makes; each line of `kith_revoked_file` is a token that makes none any more; each line of
-- `kith_registered_file`, which only this module writes, is a token that has made an account. (XEP-0445 and XEP-0077; mod_invites has
-- reusable tokens too, but only its Lua API makes them.) The texts of refusals are those of src/protocol/tokens.ts.
local st = require "util.stanza";

local tokens_file = module:get_option_string("kith_tokens_file");
local revoked_file = module:get_option_string("kith_revoked_file");
local registered_file = module:get_option_string("kith_registered_file");

local UNKNOWN = "nobody here knows this invitation";
local EXPIRED = "this invitation has expired";
local USED_UP = "this invitation was used as often as it may be";
local REVOKED = "this invitation was revoked";

local function count(path, wanted)
	local file = path and io.open(path, "r");
	local found = 0;
	if not file then return found; end
	for line in file:lines() do
		if line == wanted then found = found + 1; end
	end
	file:close();
	return found;
end

-- Why this token makes no account, or nil.
local function fault(token)
	local file = tokens_file and io.open(tokens_file, "r");
	local expires, uses;
	if file then
		for line in file:lines() do
			local known, till, times = line:match("^(%S+) (%d+) (%d+)$");
			if known == token then expires, uses = tonumber(till), tonumber(times); end
		end
		file:close();
	end
	if not expires then return UNKNOWN; end
	if count(revoked_file, token) > 0 then return REVOKED; end
	if expires <= os.time() then return EXPIRED; end
	if count(registered_file, token) >= uses then return USED_UP; end
end

module:hook("stanza/iq/urn:xmpp:pars:0:preauth", function (event)
	local origin, stanza = event.origin, event.stanza;
	local token = stanza.tags[1].attr.token;
	local why = UNKNOWN;
	if origin.type == "c2s_unauthed" and origin.secure and token and #token >= 8 then why = fault(token); end
	if why then
		origin.send(st.error_reply(stanza, "cancel", "forbidden", why));
		return true;
	end
	origin.kith_token = token;
	origin.send(st.reply(stanza));
	return true;
end);

module:hook("user-registering", function (event)
	local token = event.session and event.session.kith_token;
	local why = UNKNOWN;
	if token then why = fault(token); end
	if not why then return; end
	event.allowed = false;
	event.error_type, event.error_condition = "cancel", "forbidden";
	event.reason = why;
end);

-- In the same turn of the server as the check above: nobody comes in between.
module:hook("user-registered", function (event)
	local token = event.session and event.session.kith_token;
	if not token then return; end
	local file, err = io.open(registered_file, "a");
	if not file then
		module:log("error", "Cannot count registrations: %s", err);
		return;
	end
	file:write(token, "\n");
	file:close();
end);
