<?php
// HTTP as an LMS plugin sends it, with the real PHP curl: a call as JSON on stdin, the answer as JSON on stdout.
$call = json_decode(stream_get_contents(STDIN), true);
$curl = curl_init($call['url']);
curl_setopt_array($curl, [
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_FOLLOWLOCATION => true,
    CURLOPT_SSL_VERIFYPEER => false,
    CURLOPT_SSL_VERIFYHOST => 0,
    CURLOPT_PROXY => '',
    CURLOPT_TIMEOUT => 120,
    CURLOPT_CUSTOMREQUEST => $call['method'],
]);
$headers = ['Accept: application/json', 'Authorization: token ' . $call['token']];
if ($call['chunked']) {
    // An empty POST without a length.
    curl_setopt($curl, CURLOPT_UPLOAD, true);
    curl_setopt($curl, CURLOPT_READFUNCTION, fn() => '');
    $headers[] = 'Transfer-Encoding: chunked';
} elseif ($call['body'] !== null) {
    // As application/x-www-form-urlencoded, even when it is JSON; beyond 1 MB with Expect: 100-continue.
    curl_setopt($curl, CURLOPT_POSTFIELDS, $call['body']);
    if (strlen($call['body']) > 1000000) {
        $headers[] = 'Expect: 100-continue';
    }
}
curl_setopt($curl, CURLOPT_HTTPHEADER, $headers);
$body = curl_exec($curl);
echo json_encode([
    'status' => curl_getinfo($curl, CURLINFO_RESPONSE_CODE),
    'redirects' => curl_getinfo($curl, CURLINFO_REDIRECT_COUNT),
    'body' => $body === false ? curl_error($curl) : $body,
]);
