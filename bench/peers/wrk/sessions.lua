-- wrk … -- METHOD FILE: each request brings the next cookie of FILE, which holds one a line.
-- wrk does not say on which connection a request goes out. There are more cookies than connections,
-- and a cookie comes round again only when all others have been sent: two requests at once with one
-- cookie need an answer that is overtaken by as many others.
local requests, turn = {}, 0

function init(args)
  local method, body = args[1], nil
  if method ~= "GET" then
    body = ""
  end
  for cookie in io.lines(args[2]) do
    requests[#requests + 1] = wrk.format(method, nil, { Cookie = cookie }, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
