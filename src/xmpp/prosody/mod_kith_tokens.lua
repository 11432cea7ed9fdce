-- Invitation tokens that serve several friends: each line of the file `kith_tokens_file` is one token that lets a client register
-- (XEP-0445). mod_invites has reusable tokens too, but only its Lua API makes them, and they expire after a week.
local st = require "util.stanza";

local tokens_file = module:get_option_string("kith_tokens_file");

local function known(token)
	local file = tokens_file and io.open(tokens_file, "r");
	if not file then return false; end
	local found = false;
	for line in file:lines() do
		if line == token then found = true; end
	end
	file:close();
	return found;
end

module:hook("stanza/iq/urn:xmpp:pars:0:preauth", function (event)
	local origin, stanza = event.origin, event.stanza;
	local token = stanza.tags[1].attr.token;
	if origin.type ~= "c2s_unauthed" or not origin.secure or not token or #token < 8 or not known(token) then
		origin.send(st.error_reply(stanza, "cancel", "forbidden", "The invitation is unknown or was withdrawn"));
		return true;
	end
	origin.kith_token = token;
	origin.send(st.reply(stanza));
	return true;
end);

module:hook("user-registering", function (event)
	local token = event.session and event.session.kith_token;
	if token and known(token) then return; end
	event.allowed = false;
	event.reason = "Registration on this server needs an invitation";
end);
