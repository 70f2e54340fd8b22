"""The grammar that emails.py expands: words, whole sentences, and topics. CC0 1.0.

One alternative per line. See emails.py for the notation.
"""


def lines(text):
    return [line.strip() for line in text.strip().split("\n") if line.strip()]


RULES = {
    # ---------------------------------------------------------------- words
    "first": lines("Anna|Ben|Clara|Daniel|Elena|Frank|Grace|Hannah|Ian|Julia|Karen|Liam|Maria|Nora|Oliver|Paula|Quentin|Rachel|Sam|Tara|Victor|Wendy|Yusuf|Zoe|Priya|Marco|Lucy|Tom|Helen|David|Emma|Peter|Sofia|James|Laura|Mark|Nina|Robert|Susan|Alex|Chris|Dana|Erik|Fatima|George|Ingrid|Joan|Kevin|Linda|Martin|Omar|Petra|Ruth|Simon|Teresa|Vera|Will|Amir|Carlos|Mei".replace("|", "\n")),
    "last": lines("Carver|Holt|Lindqvist|Marsh|Novak|Okafor|Pruitt|Quill|Renner|Sato|Tilden|Underhill|Vance|Whitlow|Abbott|Becker|Cole|Drummond|Ellery|Foss|Garner|Hayes|Ivers|Jansen|Keller|Lowell|Mercer|Nash|Osborne|Pike|Reyes|Stone|Thorne|Weaver|Young|Brandt|Carter|Dunn|Fischer|Grant".replace("|", "\n")),
    "title": lines("Ms.\nMr.\nMrs.\nDr.\nMs.\nMr."),
    "team": lines("the finance team|the sales team|the marketing team|the legal team|the design team|the IT team|the support team|the operations team|the purchasing department|the human resources department|the engineering team|the warehouse team|the quality team|the training team|the facilities team|our department|the project team|the customer service team|the planning group|the management team|accounting|the front office".replace("|", "\n")),
    "role": lines("project manager|account manager|office manager|team leader|sales assistant|software developer|designer|accountant|analyst|coordinator|receptionist|technician|buyer|trainer|administrator|engineer|consultant|supervisor|recruiter|data analyst|warehouse manager|customer service representative".replace("|", "\n")),
    "firm": lines("Northgate Supplies|Bluewater Logistics|Harbor Street Partners|Greenfield Foods|Summit Print Services|Alder and Finch|Riverside Medical|Lakeshore Interiors|Oakline Furniture|Brightwell Energy|Pinecrest Hotels|Fairmont Packaging|Cobalt Systems|Westbrook Insurance|Maple Lane Catering|Silverline Transport|Redstone Builders|Clearview Software|Orchard Health|Copperfield Travel|Stonebridge Consulting|Larkspur Design".replace("|", "\n")),
    "day": lines("Monday\nTuesday\nWednesday\nThursday\nFriday"),
    "month": lines("January|February|March|April|May|June|July|August|September|October|November|December".replace("|", "\n")),
    "date": lines("{month} [1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16|17|18|19|20|21|22|23|24|25|26|27|28]\n{month} [3|7|12|15|18|21|24|28]\nthe [first|second|third|fourth|fifth|tenth|fifteenth|twentieth] of {month}"),
    "time": lines("[8|9|10|11]:[00|15|30|45] a.m.\n[1|2|3|4]:[00|15|30] p.m.\n[9|10|11] a.m.\n[2|3|4] p.m.\nnoon\n[9|10|2|3] o'clock"),
    "quarter": lines("the first quarter\nthe second quarter\nthe third quarter\nthe fourth quarter\nthe last quarter\nthe first half of the year\nthe second half of the year"),
    "deadline": lines("by {day}\nby the end of the week\nby the end of the day\nby {date}\nbefore {day}\nno later than {date}\nby close of business on {day}\nbefore the end of the month\nby tomorrow afternoon\nas soon as you can\nby {day} at {time}\nbefore our next meeting\nwithin the next few days\nearly next week"),
    "when": lines("on {day}\nnext week\non {day} at {time}\ntomorrow morning\nthis afternoon\non {date}\nlater this week\nearly next week\nat the end of the month\non {day} morning\nnext {day}\non {day} afternoon"),
    "past": lines("last week\nyesterday\non {day}\nlast {day}\non {date}\nearlier this month\na few days ago\nlast month\nthis morning\ntwo weeks ago"),
    "span": lines("two days\nthree days\na week\ntwo weeks\nten working days\na month\nsix weeks\nthree months\na few days\nfive business days\none to two weeks"),
    "money": lines("${num}\n$[1|2|3|4|5|6|8|12|15|18|25|40],[000|200|250|400|500|750|800]\n{num} dollars\n$[90|120|150|240|310|480|650|875]"),
    "percent": lines("[2|3|4|5|6|7|8|9|10|12|15|18|20|25|30|40] percent\n[2|3|4|5|6|8|10|12|15|20|25|30]%\n[almost|about|just over|nearly] [five|ten|fifteen|twenty|thirty] percent"),
    "doc": lines("report|contract|proposal|draft|agreement|budget|presentation|schedule|summary|quote|plan|specification|checklist|agenda|spreadsheet|policy|application form|brochure|business case|statement of work".replace("|", "\n")),
    "project": lines("the website redesign|the office move|the new billing system|the customer survey|the spring campaign|the training program|the annual report|the product launch|the warehouse extension|the hiring plan|the supplier review|the mobile app|the inventory project|the new payroll system|the safety audit|the data migration|the summer event|the partner program|the help desk pilot|the annual budget|the new phone system".replace("|", "\n")),
    "item": lines("office chairs|laptops|printed brochures|cardboard boxes|toner cartridges|desk lamps|safety gloves|shipping labels|headsets|filing cabinets|coffee machines|monitors|paper towels|spare parts|uniforms|display stands|tablets|water filters|packing tape|storage shelves".replace("|", "\n")),
    "issue": lines("the system was slow\nthe invoice showed the wrong amount\nthe package arrived damaged\nthe login page did not load\ntwo boxes were missing\nthe delivery was late\nthe report contained old figures\nthe order was sent to the wrong address\nthe printer kept jamming\nthe payment was charged twice\nthe password reset link had expired\nthe meeting room was double booked\nthe color did not match the sample\nthe phone line was cut off several times\nthe file could not be opened"),
    "cause": lines("a delay at the supplier\na shortage of materials\nan error in our system\na change in the schedule\nunexpected illness in the team\na mistake in the address\nheavy demand this month\na problem with the server\na missing signature\na misunderstanding about the dates\nthe public holiday\nbad weather\na staff shortage\nlate changes to the design"),
    "benefit": lines("save time\nreduce costs\nimprove the quality of our service\nmake the process easier for everyone\navoid delays\nanswer customers more quickly\nreduce errors\nkeep everyone informed\nplan the work better\nshorten the waiting time\nmake better use of the budget\nspend less time on paperwork"),
    "goodadj": lines("good|excellent|clear|useful|strong|solid|helpful|encouraging|positive|detailed|promising|thorough".replace("|", "\n")),
    "task": lines("review the {doc}\nupdate the {doc}\nsend the final {doc} to {first}\nprepare a short summary\ncheck the figures\ncontact the supplier\nset up a meeting with {team}\ncollect comments from {team}\nbook a room for the workshop\nprepare the slides\nfinish the {doc}\nask {firm} for a new quote\nwrite to the customer\nupdate the project plan\nconfirm the dates\nshare the notes with everyone\ncompare the offers\nspeak to {team} about the budget\ntest the new version\norder the {item}\nclose the open tickets\ncheck the stock of {item}"),
    "place": lines("the main office\nthe conference room\nroom {num}\nthe second floor\nthe training room\nthe warehouse\nthe head office\nthe small meeting room\nour downtown office\nthe cafeteria\nthe showroom\nthe reception area"),
    "group": lines("customers\nour clients\nstaff\nall employees\nnew employees\nvisitors\nmanagers\nour partners\nsuppliers\nteam members\nthe people who responded\nmost participants"),
    "product": lines("the basic plan\nthe new version\nthe service contract\nthe premium package\nthe starter kit\nyour subscription\nthe product\nthe extended warranty\nthe annual plan\nthe software license\nthe maintenance plan"),
    # ------------------------------------------------------- shared sentences
    "greeting": lines("Hi {first1},\nHello {first1},\nDear {first1},\nDear {title1} {last1},\nDear {title1} {last1},\nHi {first1},\nHi all,\nHi everyone,\nHello everyone,\nDear all,\nDear colleagues,\nDear team,\nHi team,\nGood morning {first1},\nGood morning everyone,\nGood afternoon,\nDear customer,\nHello,\nDear Sir or Madam,\nTo all staff:\n{first1},\nHi {first1} and {first2},"),
    "pleasantry": lines("""
I hope you are [well|doing well|having a good week].
I hope this [message|email|note] finds you well.
I hope you had a [good|pleasant|relaxing] weekend.
Thank you for your [email|message|note|call] [of {date}|{past}|this morning].
Thanks for your [email|message|call] {past}.
Thank you for [taking the time|making the time] to [meet|speak|talk] with [me|us] {past}.
It was [good|great|nice|a pleasure] to [see|meet|speak with|talk to] you {past}.
Thank you for your patience [while we looked into this|over the past few days|during the last few weeks].
Thanks again for your help with {project1}.
I am sorry [it has taken me so long to reply|for the late reply|that I missed your call {past}|that I did not get back to you sooner].
Sorry for the short notice.
I know [this is a busy time for you|you have a lot on your plate|everyone is busy at the moment], so I will keep this [short|brief].
I am writing [with regard to|about|in connection with|regarding] {project1}.
My name is {first3} {last3}, and I am the {role1} at {firm3}.
As [we discussed|discussed on the phone|you know|mentioned in our last meeting|agreed {past}], {project1} will [start|begin|finish] {when}.
Following our [conversation|call|meeting] {past}, I wanted to [send you a short update|share a few thoughts|confirm the next steps|put the main points in writing].
I just wanted to [check in|follow up|touch base] [on|about] {project1}.
"""),
    "aside": lines("""
Please note that I will be [out of the office|traveling|in meetings most of the day|on leave] {when}.
{first4} will be [covering for me|your contact|available for questions] while I am away.
I have copied {first4} [on this email|here], who [is leading|is responsible for|has been working on] {project2}.
{first4} from {team} [can help you with|knows more about|will be happy to explain] the details.
As always, we want to {benefit} [without adding extra work|and keep the budget under control|where we can].
We are still waiting for [an answer|feedback|confirmation|final numbers] from {team}.
This has no effect on {project2}.
There is no need to [do anything|reply|bring anything] [at this stage|yet|for now].
Nothing has been decided yet, and we would [like|welcome] your opinion.
I realize this is [more work than we planned|not what we had hoped for|a change from our original plan].
In the meantime, please [continue to use|keep using] the [old|current] [form|system|process].
The [change|update|work] will not affect [your account|existing orders|your current contract|the delivery date].
"""),
    "wrapup": lines("""
Please let me know if you have any [questions|questions or concerns|comments].
Let me know [what you think|if that works for you|if you need anything else|how you would like to proceed].
Please do not hesitate to [contact me|call me|get in touch] if you need [more information|anything else|any help].
If you have any questions, please [call|contact|email] me [or {first4}|directly|at any time].
Thank you [for your help|for your support|for your understanding|in advance|for your patience|for your time|for your cooperation].
I look forward to [hearing from you|your reply|meeting you|working with you|seeing you {when}|our conversation {when}].
Thanks [again|in advance|so much|a lot] for your help [with this|].
We look forward to [hearing from you soon|working with you|welcoming you|doing business with you].
I am happy to [talk this through|answer any questions|explain the details] [on the phone|{when}|in person].
If {day} does not [suit you|work for you], please suggest another [time|day].
We appreciate your [help|patience|understanding|business|support].
I will [keep you posted|keep you informed|let you know as soon as I hear more|get back to you {when}].
Please feel free to [forward this to|share this with] anyone who [might be interested|needs to know].
If I do not hear from you [by {day}|by {date}|before {day}|by the end of the week], I will assume that [everything is fine|you agree|no changes are needed].
We apologize for any inconvenience [this may cause|caused|and thank you for your patience].
Have a [great|good|nice] [day|weekend|week].
"""),
    "signoff": lines("""
Best regards,\\n{first5}
Kind regards,\\n{first5} {last5}
Regards,\\n{first5}
Thanks,\\n{first5}
Many thanks,\\n{first5}
Best,\\n{first5}
Sincerely,\\n{first5} {last5}
Yours sincerely,\\n{first5} {last5}\\n[Customer Service|Office Manager|Human Resources|Project Manager|Accounts Department|Sales Manager|Support Team]
Thank you,\\n{first5}
Best wishes,\\n{first5}
Kind regards,\\n{first5}\\n{firm5}
All the best,\\n{first5}
Warm regards,\\n{first5}
""".replace("\\\\n", "\\n")),
    # ---------------------------------------------------------- short replies
    "reply": lines("""
Thanks, that works for me.
Thank you for [the update|letting me know|sending this over|the quick reply|your feedback|the reminder].
[Yes|Sure|Of course], I can [do that|join the call|send it over|take care of it] {when}.
[Unfortunately|Sorry, but] I cannot make it {when} because [I have another meeting|I will be traveling|I am on leave|of a conflict with {project1}].
I have [read|reviewed|gone through|looked at] the {doc} and [it looks good to me|I have a few comments|I have only two small changes|I agree with most of it].
[Great|Excellent|Good] news, thank you for [your hard work|making this happen|sorting this out].
I agree with {first2} that we should [wait|go ahead|ask for a second quote|keep the current plan|postpone the decision].
I [checked with|spoke to|asked] {team} and [they are happy with the plan|they need until {day}|there is no problem|they will send us the numbers {when}].
Could you [send me the latest version|resend the attachment|explain what you mean|give me a little more time]?
I am [fine|happy] with [the new date|either option|your suggestion|these changes].
Let us [meet|talk|speak] {when} and [decide together|go through the list|settle the open points].
The file you sent [will not open|seems to be empty|is an older version], could you please send it again?
[Just to confirm|To confirm], the meeting is {when} in {place}.
I [will be|might be] [a few minutes late|ten minutes late|late] {when}, so please start without me.
I do not have [an answer|the figures|all the details] yet, but I [will|should] have [them|something] {deadline}.
Please go ahead and [order the {item}|send the {doc}|book the room|confirm the date|sign the {doc}].
"""),
    "reply_detail": lines("""
I will {task} {deadline}.
{first3} is going to {task}, and I will {task}.
[The only thing missing is|We still need|What we still need is] [the signature|the final price|a confirmed date|the delivery address|approval from {team}].
My only [concern|question|comment] is [the cost|the timing|whether we have enough people|how we explain it to {group}].
[Could|Can] we [move|push] the [meeting|call|deadline] to [{day}|next week|the following week]?
It would [help|be helpful|be good] to [have|see] [the numbers|an example|a short summary|the timeline] [before we decide|first|before the meeting].
I have [attached|updated|added] [my comments|the latest figures|a short list of changes|the signed copy].
If [anything changes|you need it sooner|there is a problem], just [let me know|call me|send me a message].
That should give us enough time to {task}.
We [can|could] always [come back to|discuss|look at] the rest [later|next week|in the next meeting].
"""),
    # ---------------------------------------------------------------- minutes
    "minutes_title": lines("""
[Minutes of the meeting|Meeting notes|Notes from the meeting|Minutes], {date}
[Weekly|Monthly|Quarterly] [team|staff|project|sales|planning] meeting, {date}
Minutes of the [project|board|staff|safety|budget] meeting held on {date}
Notes from the call with {firm1}, {date}
"""),
    "attendance": lines("""
Present: {first1}, {first2}, {first3}, {first4}. Apologies: {first5}.
{first1}, {first2} and {first3} attended. {first4} joined by phone.
Attendees: {first1} {last1} ([chair|host]), {first2} {last2}, {first3} {last3}.
The meeting [started|began|was opened] at {time} [and was chaired by {first1}|with a short welcome by {first1}|in {place}].
"""),
    "minute": lines("""
{first1} [opened the meeting|welcomed everyone] and [thanked the team for their work|reviewed the notes from last time|went through the agenda|explained the purpose of the meeting].
The [team|group|committee|board] [discussed|talked about|reviewed|went over] {project} and [agreed|decided] [to continue|to wait until {month}|that more information is needed|to ask for another quote|to move the deadline by {span}].
{first2} [reported|explained|said] that {project} is [on track|slightly behind schedule|almost finished|ahead of schedule|on hold] [because of {cause}|and will be ready {when}|and within budget|].
{first3} [presented|showed|shared] the [results|figures] for {quarter}, which [were better than expected|show an increase of {percent}|were in line with the plan|show a small drop in sales].
[There was|We had] a [long|short|useful|lively] discussion about [the budget|staffing|the schedule|customer complaints|the new policy|training].
The group agreed that {team} should {task} {deadline}.
[It was agreed|It was decided|We agreed|We decided] to {task} and to [come back to this|review progress|discuss the results] [at the next meeting|in {span}|{when}].
{first4} [raised|mentioned] [a concern|a question] about [the cost|the timeline|the quality|the workload|data protection|parking], and {first2} [offered to look into it|will check and report back|suggested a different approach].
{first2} [asked|wanted to know] whether [the deadline can be moved|we have enough people|the supplier can deliver earlier|the changes affect {group}|the budget covers the extra cost].
No decision was made on {project}, since [we are waiting for final numbers|{first3} was absent|the offer from {firm} has not arrived].
The [budget|plan|proposal|schedule] was [approved|accepted|approved with small changes|sent back for revision].
{firm} has [offered|promised|agreed] to [deliver the {item} {when}|lower the price by {percent}|replace the {item}|send a technician {when}].
Customers have [told us|complained|reported] that {issue}, so {team} will [look into it|fix it {deadline}|contact them].
[The main|One] risk is that [the supplier cannot deliver on time|we do not have enough staff in {month}|the costs will rise|testing will take longer than planned].
{first3} will be on leave [until {date}|next week|in {month}], and {first4} will [take over|cover] [the most urgent tasks|the weekly report|customer calls].
We [reviewed|went through] the list of open [issues|questions|tickets] and closed {num} of them.
"""),
    "action": lines("""
{first1} will {task} {deadline}.
{first2} to {task} {deadline}.
{first3} [and {first4}|] will {task} and report back {when}.
{first2}: {task} {deadline}.
[All|Everyone|All managers] to send [comments|updates|their figures|holiday dates] to {first1} {deadline}.
{first4} will find out whether [the supplier can deliver earlier|we need approval from {team}|there is money left in the budget|the room is free {when}].
"""),
    "next_meeting": lines("""
The next meeting will [take place|be held] {when} in {place}.
Next meeting: {date} at {time}.
The meeting [ended|closed|finished] at {time}. We will meet again {when}.
"""),
    # ---------------------------------------------------------------- reports
    "report_title": lines("""
[Summary|Report] for {quarter}
[Monthly|Weekly|Quarterly|Annual] [report|status report|update|sales report]
[Status|Progress] report: {project1}
[Results|Summary] of the [customer|employee|staff] survey
[Recommendation|Briefing|Background] on {project1}
Review of {quarter}
[Project plan|Project summary|Lessons learned] for {project1}
"""),
    "report": lines("""
This [report|summary|document|note] [describes|explains|covers|summarizes] [the progress of {project1}|the results for {quarter}|what we learned from {project1}|the current state of {project1}] and [suggests next steps|makes three recommendations|lists the open questions|sets out what we plan to do next].
In {quarter1}, sales [rose|increased|grew|went up] by {percent} [compared with the same period last year|, mainly because of {product}|despite {cause}].
Sales in the [northern|southern|eastern|western] region [fell|dropped|declined] [slightly|by {percent}] [because of {cause}|, while the other regions grew].
Costs were [{percent} below budget|slightly higher than planned|in line with the budget], [mainly|partly|largely] because [of {cause}|we spent less on travel|prices for {item} went up|we hired two new people].
[Most|More than half|A large majority|About a third] of the [customers|employees|participants] [said|told us|reported|agreed] that [the service had improved|they were satisfied with the training|they would recommend us|the process was too slow|they wanted clearer information|the new tool was easy to use].
The [main|biggest|most common] [complaint|problem|concern|question] was that {issue}.
[We recommend|I recommend|The team recommends] that we [start with a small pilot|extend the contract for a year|hire another {role}|replace the {item}|train {group} first|review the plan in {span}] [in order to {benefit}|so that we can {benefit}|].
The [project|work|pilot] [started|began] in {month} and is expected to [finish|end|be completed] [by {date}|next year|on time].
So far, we have [completed {num} of the {num} tasks|spent {percent} of the budget|trained {num} people|moved {num} accounts|tested the main functions].
The next [step|phase|milestone] is to {task}, which should take about {span}.
[There are|We see] [two|three|several] [risks|open questions|options]: [the cost of {item}|the schedule|staffing], [the quality of the data|the availability of {team}|demand], and [training|the budget|time].
The first option is [cheaper|faster|simpler|safer], but [it takes longer|it does not solve the main problem|it would require more staff|it depends on {firm}].
The second option costs [more|{money} more|less], but it would [help us to {benefit}|allow us to {benefit}|be ready {deadline}].
If [we do nothing|nothing changes|the trend continues], [costs will continue to rise|customers will have to wait longer|we will miss the deadline|we may lose orders].
[Overall|In general|On the whole], the [results are|figures were|feedback was] {goodadj}, and we expect [a similar result|further growth|a small improvement|costs to fall] in {quarter}.
The number of [orders|calls|visits|complaints|new customers] [increased|decreased|rose|fell] from {num} to {num} [per day|per week|a month].
Response times [improved|were shorter|got better] after [we added two people to the team|the new system was introduced|the training in {month}].
[For example|For instance|In one case], [a customer|one branch|{firm}] [reported|told us|complained] that {issue}, and it took {span} to [solve the problem|find the cause|send a replacement].
The table below [shows|compares|lists] [the costs of each option|the results by region|the planned dates|the main figures].
[To|In order to] {benefit}, {team} will {task} and {task}.
We thank {team} and everyone who [took part|answered the questions|helped with the tests|gave us feedback].
As a result, we [changed the schedule|moved the deadline to {date}|decided to postpone the launch|reduced the number of {item}|asked {firm} for a better price].
The new [process|system|form] has [three|four|several] advantages: it is easier to use, it [saves time|costs less], and it helps us to {benefit}.
[However|At the same time|On the other hand], [we still need to {task}|there is still work to do|not all of the goals were met|some questions remain open].
"""),
    # ------------------------------------------------------------------ memos
    "memo_title": lines("""
MEMO: {project1}
Memo to all staff: [new opening hours|changes to the travel policy|office closure|parking|security badges|remote work|expense reports|holiday schedule]
[Notice|Announcement|Reminder]: [fire drill|maintenance work|new policy|safety training|system update|visitors]
[Welcome to the team|Guide for new employees|Your first week|How to use the meeting rooms|How to request leave|How to report a problem]
"""),
    "memo": lines("""
[Starting|Beginning|As of|From] {date}, [all employees|all staff|all managers|visitors] [must|should|will need to] [use the new form|wear a badge at all times|book rooms online|report their hours every week|use the side entrance].
The office will be closed {when} because of [the holiday|maintenance work|the move|training].
Please [make sure|remember] to [lock your screen when you leave your desk|turn off the lights|sign in at the reception desk|keep receipts for all expenses|save your work before you leave].
[Expense|Travel|Leave] requests must be [submitted|approved|sent to {team}] [at least {span} in advance|{deadline}|before the trip].
If you [lose your badge|see anything unusual|have an accident|cannot log in|are sick], please [call|inform|contact|tell] [your manager|the front desk|{team}] [right away|as soon as possible|the same day].
New employees [receive|will receive|get] [a laptop, a badge and a short introduction|a welcome package|an account] on their first day.
During your first week, you will [meet the team|complete the safety training|set up your accounts|learn about our products|work with an experienced colleague].
All [employees|staff|managers] are [asked|required|expected|encouraged] to [complete the training|read the new policy|attend one of the sessions|update their contact details] {deadline}.
The [purpose|aim|goal] of [this policy|this memo|the new rules|the change] is to {benefit}.
[The new rules|These changes|The new hours] apply to [everyone|all offices|full-time and part-time staff|contractors as well].
To [request leave|book a room|order supplies|report a problem|reset your password], open the [staff page|portal|form], [choose|select] [a date|the right category|your department], and [click Submit|follow the instructions|send the form].
Managers [should|will|are asked to] [discuss this with their teams|approve requests within {span}|keep a record of all changes|make sure that everyone is informed].
You can [find|download] the [form|policy|full schedule|instructions] [on the staff page|in the shared folder|at the front desk].
[Working from home|Remote work] is possible [up to two days a week|on {day} and {day}|with the approval of your manager].
Visitors must sign in at the front desk and [wear a badge|wait for their host|be accompanied at all times].
[Questions|Any questions] about [this memo|the policy|the schedule] should be [sent|directed] to {team}.
Maintenance work will [take place|be carried out] {when} between {time} and {time}, and [the elevators|the network|the email system|the parking lot] will not be available.
We [know|understand] that this [is a change|means some extra effort|may be inconvenient], and we thank you for your [cooperation|patience|help].
The [safety|security|privacy] of our [staff|customers|visitors] is important to us, so please [take these rules seriously|read the instructions carefully|follow the steps below].
Only [authorized staff|members of {team}|trained staff] may [enter the warehouse|use the machine|approve payments|open customer files].
"""),
    # ---------------------------------------------------- reviews and interviews
    "review_title": lines("""
Performance review: {first1} {last1}
Interview notes: candidate for {role1}
Reference for {first1} {last1}
Job description: {role1}
"""),
    "review": lines("""
{first1} has [worked with us|been a member of {team}|been in this role] for [two|three|five] years and has [made good progress|shown great commitment|taken on more responsibility].
The candidate has [strong|solid|several years of|some] experience in [project management|sales|customer service|accounting|design|logistics|training] and [answered our questions clearly|made a good impression|was well prepared|knows our market].
[One of the strengths of {first1}|The greatest strength of {first1}] is the ability to [explain things clearly|stay calm under pressure|work with different teams|find practical solutions|listen to customers].
[An area for improvement|One thing to work on] is [planning|delegating tasks|keeping others informed|giving feedback|managing time].
The [role|position|job] [includes|involves] [preparing reports|working with suppliers|answering customer questions|planning the schedule|training new staff] and [supporting {team}|managing the budget|keeping records up to date].
We are looking for [a person|someone] who [enjoys working with people|is well organized|can work independently|has experience with similar projects|communicates clearly] and [is willing to learn|can start in {month}|likes solving problems].
In the [past year|last six months], {first1} [led|supported|completed|helped with] {project} and [met all the goals|finished ahead of schedule|received very good feedback|trained two new colleagues].
[We agreed|The agreed goals are] to [take a course in project management|lead a small team|improve the reporting process|reduce the number of open tickets] [by {month}|over the next year|during {quarter}].
I would [recommend|be happy to recommend] {first1} for [this position|a leading role|any job in {team}] [without hesitation|].
The salary expectation is [within our range|slightly above our budget|not yet clear], and the candidate could start [in {month}|{when}|after {span}].
{first1} is always [friendly|reliable|on time|willing to help] and [gets along well with colleagues|keeps promises|pays attention to detail].
[We suggest|I suggest] [a second interview {when}|inviting the candidate to meet {team}|making an offer|waiting until we have seen the other candidates].
"""),
}
RULES["signoff"] = [s.replace("\\n", "\n") for s in RULES["signoff"]]


def topic(subject, open_, body, ask):
    return {"subject": lines(subject), "open": lines(open_), "body": lines(body), "ask": lines(ask)}


TOPICS = {}


TOPICS["meeting"] = topic("""
Meeting {when}
[Team|Project|Staff] meeting on {day}
[Moving|Change of] our meeting
Agenda for {day}
Invitation: {project1}
""", """
I would like to [set up|schedule|arrange] a [short |one-hour |]meeting {when} to [discuss|talk about|go over] {project1}.
[Could|Can] we meet {when} to [talk about|go through|discuss] {project1}?
Unfortunately, I have to [move|cancel|postpone] our meeting {when} because of {cause}.
This is a reminder that our [weekly|monthly|next] meeting will take place {when} in {place}.
Thank you all for [joining the call|coming to the meeting|your contributions] {past}.
Are you [free|available] {when} for a quick call about {project1}?
""", """
The meeting should [take|last] no longer than [half an hour|an hour|{num} minutes].
I have [booked|reserved] {place} [from {time} to {time}|for the whole morning|for two hours].
The main [points|topics] are the [budget|schedule|results], the [next steps|open questions|hiring plan] and [any other business|feedback from {group}].
[Those who cannot come|If you cannot attend in person, you] can [join by phone|join online|send your comments to me].
{first2} will [give a short presentation|present the results|report on the progress|take the minutes].
Before the meeting, please [read the attached {doc}|think about your priorities for {quarter}|send me any points you would like to add|update your part of the plan].
I have [attached|included] the agenda and the [notes|minutes] from our last meeting.
We [want|need] to [decide|agree on] [who will {task}|how to {benefit}|the date of the launch|the budget for {quarter}].
As a next step, we [will|should|need to] {task} and [agree on a date|share the results with {group}|decide who does what].
I suggest that we [start with the open questions|invite {team} as well|meet every {day} until the work is done|keep it short].
The room [has|is equipped with] a [screen|projector|whiteboard|phone], so [there is no need to print anything|you can share your slides|everyone can join].
In this meeting, we will look at what [went well|we have achieved so far|still needs to be done] and [what we can improve|who is responsible for what|how to {benefit}].
""", """
Please [confirm|let me know] whether [you can attend|this time works for you|you will be there].
Which day would [suit you best|be better for you], {day} or {day}?
Please [accept the invitation|reply to this email] {deadline} so that I can [book the room|order lunch|finish the agenda].
Could you [bring|send me] [the latest figures|your notes|a copy of the {doc}]?
Let me know [if you would like to add anything to the agenda|if another time would be better].
""")

TOPICS["proposal"] = topic("""
[Proposal|Quote] for {project1}
Follow-up on our proposal
Your [request|inquiry]
[Next steps|Our offer]
""", """
Thank you for [your interest in|asking about] {product}.
I [wanted|am writing] to [follow up on|ask about] the [proposal|offer|quote] [we sent|I sent you] {past}.
[Please find attached|Attached is|I have attached] our [proposal|quote|offer] for {project1}.
We have [reviewed|read|looked at] your [proposal|offer] and [like the overall approach|have a few questions|would like to discuss the price].
After [comparing the offers|reviewing all the options|a careful review], we have decided to [accept your offer|work with another supplier|ask for a new quote|start with a smaller order].
""", """
The price [includes|covers] [delivery and installation|training for up to {num} people|support for the first year|all materials and taxes] [and is valid until {date}|].
We can [offer|give] you a discount of {percent} if you [order|sign|confirm] {deadline}.
The work would [start|begin] {when} and take [about|around] {span}.
[Could you tell us|We would like to know|Please let us know] whether the price includes [delivery|support|training|installation].
Our [customers|clients] usually [choose|start with] {product} because it helps them to {benefit}.
We have [worked with|supplied] companies like [yours|{firm}] for [more than ten|several|almost twenty] years.
[Compared with|Unlike] the other offers, yours [is easier to understand|includes training|is a little more expensive|has the shortest delivery time].
I [believe|think] that {product} is the [best|right] [choice|option] for you because [it is easy to use|you only pay for what you need|it can grow with your business|it includes full support].
If you [decide to go ahead|accept the proposal], we will [send you the contract|assign a project manager|schedule a first meeting|begin {when}].
I understand [that the price is an important factor|your concerns about the cost|that you need more time], and I [am happy to|would be glad to] [look for a cheaper option|explain how we calculated it|send you a revised offer|talk to my manager].
To [meet your needs|stay within your budget|reduce the cost], we could [start with fewer {item}|spread the work over {span}|leave out the training|use a simpler design].
The total [cost|price] is {money}, [to be paid in two parts|payable within {num} days|including tax].
""", """
Would you be [available|free] for a [short call|meeting] {when} to [discuss the details|answer any questions|talk about the next steps]?
Have you had [a chance|time] to [look at it|review it|discuss it with {team}]?
Please [sign and return the attached copy|let us know your decision|send us your comments] {deadline}.
Could you [send us|prepare] a revised quote {deadline}?
Do you need [any more information|references|samples] to make [a|your] decision?
""")

TOPICS["contract"] = topic("""
[Contract|Agreement] with {firm1}
[Draft|Signed] [contract|agreement]
[Comments on|Changes to] the [contract|agreement]
""", """
[I have|We have] [reviewed|read|gone through] the [draft|contract|agreement] and [have a few comments|found two points that need to be changed|are happy with most of the terms].
[Attached|Enclosed] [is|please find] the [final|revised|signed] [version of the|] [contract|agreement] with {firm1}.
The [contract|agreement] with {firm1} [ends|expires|will be renewed] {when}.
Before we [sign|renew] the [contract|agreement], we [need to|should|would like to] [clarify|discuss|agree on] [the payment terms|the delivery dates|the notice period|a few details].
""", """
[Section {num}|The second paragraph|The last section] [says|states] that either party may end the [contract|agreement] with [thirty|sixty|ninety] days' notice.
We would like to [change|remove|add] the [clause|section|paragraph] about [late payments|data protection|delivery|liability|overtime].
The payment terms [should be|are] {num} days after [receipt of the invoice|delivery|the work has been accepted].
{team} has [approved|checked|not yet approved] the [text|terms|changes] [and has no objections|but wants to see the final version|].
The [supplier|contractor] will [provide|deliver|send] [weekly updates|a monthly report|all documents] and [must inform us of any delay|is responsible for the quality of the work|will replace faulty parts at no cost].
The [contract|agreement] [runs|is valid] for [one year|two years|{num} months] and [can be extended|renews automatically|may be ended by either side].
[Both sides|Both parties] agree to keep [the information|all customer data|the prices] confidential.
If the [work|delivery] is [late|delayed], the [price|fee] will be reduced by {percent}.
We still need [a signature from {first2}|the correct company address|approval from {team}|a copy of the insurance].
I have marked my [comments|changes] in the document so that [you can see them easily|{team} can review them|we can discuss them {when}].
""", """
Please [sign|review|check] the [document|contract|attached copy] and [return it|send it back] {deadline}.
Can you [confirm|tell me] [that these changes are acceptable|when we can expect the signed copy|who will sign on your side]?
Please [ask|check with] {team} whether [this is acceptable|we can agree to this|anything is missing].
Could you [send me|share] the [latest|final] version {deadline}?
""")

TOPICS["invoice"] = topic("""
Invoice [no. |]{num}{num}
[Overdue|Open] invoice
[Payment|Reminder|Question about your invoice]
Payment reminder
""", """
[Please find attached|Attached is|Enclosed is] our invoice for [the {item} delivered {past}|work done in {month}|{product}].
[Our records show|According to our records,|It seems] that [the invoice|invoice {num}{num}|our invoice] dated {date} [is still unpaid|has not been paid yet|is overdue].
We have [received your invoice|received your payment|a question about your invoice] dated {date}.
I am writing about [a mistake in|the amount on] your invoice dated {date}.
Thank you for your payment of {money}, which we received {past}.
""", """
The [total|amount due|balance] is {money} and is [due|payable] [on {date}|within {num} days|{deadline}].
The invoice shows [{num}|twelve|ten] [{item}|hours|units], but we [received|ordered] only [{num}|eight|half of them].
We were charged [twice|too much|for shipping], although [the order was cancelled|we had agreed on a lower price|we only received one delivery].
You can pay by [bank transfer|credit card|check], [using the invoice number as a reference|and the details are on the second page|whichever is easier for you].
If you have already [paid|sent the payment], please [ignore|disregard] this [reminder|message].
I have [asked|forwarded your question to] {team} to [correct the invoice|check the payment|send you a new copy], and they will [contact you {when}|reply within {span}].
A [corrected|new] invoice will be sent to you {when}.
Please send [all|future] invoices to [our accounts department|the address below|{first3} {last3}] and [include|mention] the order number.
We have [credited|refunded] {money} to your account, and it should [appear|arrive] within {span}.
We can [offer|agree to] [a payment plan|two monthly payments|an extension of {span}] if [you cannot pay the full amount now|this would help].
If we do not receive payment {deadline}, we [may have to|will] [charge a late fee|stop further deliveries|contact you again].
""", """
Please [arrange|make|send] the payment {deadline}.
Could you [check this|correct the amount|send us a corrected invoice|confirm the payment date]?
Please let us know [when we can expect payment|if there is a problem with the invoice|whether you have received this invoice].
Can you [confirm|tell me] that the payment [has been made|was sent|is on its way]?
""")

TOPICS["order"] = topic("""
Your order [of {date}|{num}{num}|from {firm1}]
[Delivery|Shipping] [update|date]
Order confirmation
[Delay|Change] in your order
""", """
Thank you for your order [of {item1}|for {num} {item1}|placed {past}].
Your order [has been shipped|left our warehouse {past}|is ready for collection|has been delayed].
We are sorry to [tell|inform] you that [your order|the delivery of your {item1}] will be [late|delayed] because of {cause}.
I would like to [order|place an order for] {num} {item1} [for {place}|to be delivered {when}|].
We are [pleased|happy] to confirm your order [of {item1}|] and [expect to deliver it {when}|will ship it {when}].
I am writing [about|to ask about] the order we placed {past}.
""", """
The [package|shipment|delivery] should arrive {when}[, and you will receive a message with the exact time| between {time} and {time}|].
You can [track|follow] the [package|shipment|order] with the number [below|in this email|on your receipt].
[Please note|Please be aware] that the {item1} will be delivered in [two|three] [boxes|shipments].
The {item1} [you ordered|] are [out of stock|back in stock|available in two colors], and we expect [new stock|the next delivery] {when}.
We can [offer|send] you a [similar model|different color|larger size] [at the same price|right away|at no extra cost].
If [someone else will receive the goods|nobody is at the office|the address has changed], please [tell us|let us know|call us] {deadline}.
The delivery [address|note] [was wrong|is not complete|should be changed], so the driver [could not find you|took the package back|left it with a neighbor].
When we opened the boxes, we [noticed|found] that [some of them were damaged|two were missing|the color was wrong|the size was not right].
You may [return|exchange] [the {item1}|any item] within {num} days [if you are not satisfied|as long as it has not been used|for a full refund].
[Delivery|Shipping] is [free|included in the price] for orders over {money}.
We will [replace|collect] the damaged [items|{item1}] [free of charge|{when}|at no cost to you].
[Please|Could you] [leave|deliver] the {item1} [at the front desk|in the warehouse|at the back entrance] and [ask for {first3}|ring the bell|call us when you arrive].
""", """
Please [confirm|check] [the delivery address|the quantity|the date] {deadline}.
Could you [tell me|let us know] when [we can expect the delivery|the {item1} will arrive|the order will be shipped]?
Would you like to [wait|cancel the order|choose a different model]?
Please let us know [if this date suits you|how you would like to proceed|whether someone will be there to receive it].
""")

TOPICS["support"] = topic("""
Your [request|ticket|message] [{num}{num}|]
[Problem|Trouble] with [my account|the login|{product}|the printer]
[We are sorry|Your complaint|Your feedback]
Support request
""", """
Thank you for [contacting us|contacting our support team|your message|reporting this problem|letting us know].
I am [sorry|very sorry] to hear that {issue}.
We [apologize|are sorry] for the [trouble|inconvenience|delay] and [have looked into the problem|would like to explain what happened|will do our best to fix it].
I am having [a problem|trouble] with [my account|{product}|the new form|the printer in {place}].
{past}, {issue}, and [I have not heard back|it has happened again|we still do not know why|my team cannot work].
We have [good news|an update] about [the problem you reported {past}|your request].
""", """
The problem was caused by {cause} and [has now been fixed|will be fixed {deadline}|should not happen again].
Our [technicians|engineers|team] [found|are looking for] the cause and [expect to have a solution {deadline}|have already installed an update|will contact you {when}].
To [solve|fix] the problem, please [restart the computer|clear the list|log out and log in again|install the latest update|reset your password] and try again.
If the problem [continues|comes back|is not solved], please [reply to this message|call our support line|send us a screenshot].
We have [sent you a replacement|refunded your last payment|reset your account|extended your subscription by {span}] [at no cost|as an apology|].
I have [tried|already tried] to [restart it|install the update|use a different computer|change my password], but [it did not help|the error is still there|nothing has changed].
The error [message|] appears when I [open the file|click on the link|try to save my changes|print more than one page].
Your [request|ticket] has been [passed on to|assigned to] [our technical team|{first2}|a specialist], who will [contact you within {span}|look at it today|call you {when}].
We [value|appreciate] your [feedback|opinion] and will use it to {benefit}.
To [open|access|download] the file, [click|choose|select] the link [below|in the message], enter your [password|email address|customer number], and [follow the instructions|click Save|choose a folder].
You can [change your settings|update your details|cancel your subscription|find your invoices] at any time [in your account|on our website|under Settings].
The [service|system|website] will be [unavailable|offline] {when} between {time} and {time} for [maintenance|an update].
We have [checked|tested] [everything|the settings|the connection] and could not find [any problem|an error] on our side.
""", """
Could you [send us|tell us] [your customer number|a screenshot|the exact error message|when the problem started]?
Please [try again|check] and let us know [if it works now|whether the problem is solved].
[Can|Could] someone [look into this|call me back|help me with this] {deadline}?
Please [tell us|let us know] if there is anything else we can do for you.
""")

TOPICS["leave"] = topic("""
[Leave|Vacation|Time off] request
[Out of office|Absence] {when}
[Working from home|Change in my working hours]
Request for leave in {month}
""", """
I would like to [request|ask for|take] [two days|three days|a week|a day] [of leave|off|of vacation] [in {month}|next month|{when}].
[Unfortunately|I am afraid that] I am [sick|not feeling well] today and will not be able to come to the office.
I [would like|am asking for permission] to work from home {when} because [the office will be noisy|I need to be there for a repair|my train is not running|of a family matter].
Your [leave|vacation] request for {month} has been [approved|declined|received].
I will be [out of the office|on leave|on parental leave|at a conference] from {date} to {date}.
""", """
[While I am away|During my absence|In my absence], {first2} will [answer urgent questions|take over my tasks|look after my customers|attend the meetings].
I [was out of the office|was on leave|was sick] {past} and [have only now seen your message|am still catching up with my email|will answer all open questions {when}].
I have [finished|completed|handed over] [all urgent tasks|the {doc}|the most important files] and [will check my email once a day|left a list on my desk|informed the customers].
I [plan|expect] to be back {when}.
If [this is not convenient|there is too much work in {month}|these dates are a problem], I can [move it to a later date|take only two days|change my plans].
Please remember that leave must be [requested|approved] at least {span} in advance.
[Unfortunately|I am sorry, but] we [cannot|are unable to] approve [the request|these dates] [at this time|] because [two colleagues are already on leave|we need you for {project1}|{month} is our busiest month].
You have [{num}|ten|twelve|five] days of leave left [this year|that must be used before {month}].
The reason is [that I am moving to a new apartment|a family event|a medical appointment|that my children are on holiday], so I can [spend time with my family|take care of it|travel to see my parents].
I will [make up|work] the missing hours {when}.
""", """
Please let me know [if this is possible|whether you can approve it|if you have any concerns].
Could you [approve|confirm] [the dates|my request] {deadline}?
Would it be possible to [start later|leave early|change my shift] {when}?
In urgent cases, please [call me|contact {first3}|send a message to {team}].
""")

TOPICS["review_doc"] = topic("""
[Please review|Comments on|Draft of] the {doc1}
{doc1} [attached|for your review|for approval]
[Feedback|Review] needed
""", """
[Please find attached|Attached is|Attached you will find|Here is|I have attached|I am sending you] the [latest|first|revised|final] [version of the |draft of the |]{doc1} [for {project1}|for your review|for your approval|].
I have [finished|updated|revised] the {doc1} and [would like your comments|added the changes you asked for|sent it to {team}].
Thank you for sending me the {doc1}.
[Could|Can|Would] you [please |][review|read|look at|check] the attached {doc1} [and tell me what you think|and send me your comments|before I send it to {firm1}]?
""", """
I have [changed|rewritten|shortened] the [introduction|first section|summary|last page] so that [it is easier to read|the main point is clear|it fits on one page|{group} can understand it].
[Please pay special attention to|I am not sure about|I would like your opinion on] the [figures|wording|dates|prices|conclusion] [on page {num}|in the second section|].
The {doc1} [explains|describes|shows|covers] [what has changed|how we plan to {benefit}|the cost of each option|the steps for the next {span}] and [why it matters|what we expect from {team}|who is responsible].
[Comments|Changes] can be made [directly in the document|in the shared folder|by email] [until {day}|until {date}|].
[Once|As soon as|After] [everyone has replied|I have your comments|the changes are approved], I will [send the final version|share it with {group}|prepare the presentation|publish it].
Overall, [it|the {doc1}] is {goodadj}, but [it could be shorter|some numbers are missing|the tone should be more friendly|I would explain the background first|there are a few spelling mistakes].
I [think|feel|believe] we should [add an example|explain the costs|mention the deadline|leave out the last paragraph|use simpler words].
There is [a mistake|an error|a small problem] [on page {num}|in the table|in the second paragraph], where [the total is wrong|the date is missing|the name is misspelled].
The summary [explains|lists] [the main results|our recommendations|the open questions] and [is meant for|will be sent to] [managers|{group}|the board].
It [does not have to|need not] be perfect, [but the numbers must be right|as this is only a first draft|since we will review it again {when}].
""", """
Please send me your [comments|changes|feedback] {deadline} so that I can [finish it in time|include them in the final version|send it to the printer|prepare the final {doc1}|discuss them with {team}].
Could you [let me know|tell me] [whether anything is missing|if you agree with the changes|who else should see it]?
Do you [agree|think we should send it now]?
Please [approve it|sign it|send it back] {deadline}.
""")

TOPICS["hiring"] = topic("""
[Your application|Application] for the position of {role1}
[Interview|Invitation to an interview]
[Welcome|Your first day|Start of work]
Open position: {role1}
""", """
Thank you for [applying|your application|your interest in the position of {role1}].
We are [pleased|happy|delighted] to [invite you to an interview|offer you the position of {role1}|welcome you to our team].
We are looking for a[n experienced| new| full-time| part-time] {role1} who can [start in {month}|work with {team}|help us to {benefit}|manage several projects at once].
I am writing to apply for the position of {role1} [at {firm1}|that you advertised|].
[After careful consideration|Unfortunately|I am sorry to tell you that], we have [decided to offer the job to another candidate|chosen someone with more experience|filled the position].
Please join me in welcoming {first2} {last2}, our new {role1}.
""", """
The interview will take [about an hour|about {num} minutes|place {when}] [in our office|by phone|in {place}] and [will be with {first2} and {first3}|you will meet the team|includes a short exercise].
I have [several|more than five|three] years of experience [in {team}|as a {role2}|in a similar role], and I [enjoy working with people|have managed large projects|learn quickly|know your products well].
In my [current|last|previous] job, I [was responsible for|took care of|led] [a team of {num} people|the budget|customer contracts|training new staff].
Your [experience|background|application] [impressed us|fits the role very well|was among the best we received].
{first2} [joins us from|worked for] {firm2}, where [she|he] [was a {role2}|managed a team|worked on similar projects].
On your first day, please [come to the front desk at {time}|bring a photo ID|ask for {first3}], and [we will show you around|you will receive your badge and laptop|you will meet your team].
During the first week, you will [take part in training sessions|get to know our products|have time to read the handbook|meet people from other departments].
The position is [full-time|part-time|limited to one year] and [starts|begins] [on {date}|in {month}].
[We offer|The position comes with] [flexible hours|a good salary|{num} days of leave], [training|support from experienced colleagues|a friendly team] and [the chance to work from home|room to grow|a modern office].
Please bring [your references|a copy of your certificates|examples of your work] [to the interview|with you|].
We will [keep your application on file|contact you if another position opens|make a decision {when}].
""", """
Please [confirm|let us know] [whether you can come|that the date suits you|if you accept the offer] {deadline}.
Could you [send us|bring] [two references|your signed contract|your certificates]?
Please send [your application|a short letter and your resume] to {team} {deadline}.
I would be [glad|happy|pleased] to [tell you more in person|answer your questions|come to an interview at any time].
If you know [someone suitable|a good candidate], please [tell them about the position|forward this message].
""")

TOPICS["project"] = topic("""
[Update|Status] on {project1}
{project1}: [next steps|status|delay|schedule]
[Good news about|A question about|Problem with] {project1}
""", """
Here is [a short|the weekly|a quick] update on {project1}.
I wanted to [let you know|tell you] that {project1} is [going well|on schedule|behind schedule|almost done|ready for testing].
We have [finished|completed] the first [phase|part] of {project1}.
[Unfortunately|I am afraid], {project1} [will take longer than planned|has been delayed|will cost more than expected] because of {cause}.
The [pilot|test|first month] [of {project1} |]was a success, and [most participants said that it helped them to {benefit}|we learned a lot|the feedback has been {goodadj}].
We decided to [postpone|delay|move] [the launch|{project1}] because [the testing team needs more time|some parts are not ready|we found two serious problems|{firm1} cannot deliver before {month}].
""", """
The [team|developers|technicians] [finished|completed|started] [the design|the tests|the first version|the installation] {past} and [will|plan to] {task} next.
The main [risk to the schedule|risk|problem|challenge] is that [the supplier has not confirmed the date|two people are leaving the team|we depend on {firm1}|the budget has not been approved|the tests take longer than expected].
[If everything goes well|If there are no surprises|According to the current plan], we will [finish|go live|be ready] {when}.
To [catch up|stay on schedule|reduce the risk], we [will|plan to|need to] [add another person to the team|work in smaller steps|test earlier|drop one feature|ask {team} for help].
The next version will make it easier for [users|customers|{group}] to [find what they need|pay online|change their order|see all their data in one place|share files].
[Users|Testers|Customers] [said|told us|noticed] that [the pages load faster|the menu is confusing|they could not find the search box|the new form is much shorter].
We [need|are asking for] [another {money}|two more weeks|one more person] to [finish the work|complete the tests|train {group}].
[So far|Until now], we have [spent|used] {percent} of the budget.
{first2} [is responsible for|has taken over|will lead] [the tests|the training|the next phase], and {first3} [will support {team}|takes care of the documents|will talk to the customer].
[Since the start|In the last {span}|This week], we [fixed {num} errors|trained {num} people|moved {num} files|held {num} interviews|wrote the user guide].
We should [make sure|check] that [the data is correct|all {group} are informed|the old system stays available|there is enough time for training] before we [go live|start|continue].
One thing [we learned|I noticed] is that [people need more training|clear goals save a lot of time|early feedback is very helpful|we should plan more time for tests].
""", """
What do you think about [the new date|this plan|the extra cost]?
Please [tell me|let me know] {deadline} whether [you agree|we can go ahead|your team can help].
Can you [ask {team}|find someone] to {task} {deadline}?
[Could|Can] we [discuss|decide] this {when}?
I will send [another|the next] update {when}.
""")

TOPICS["policy"] = topic("""
[New|Updated] [policy|rules|form] for [travel|expenses|remote work|visitors|parking]
[Reminder|Important]: [safety training|expense reports|security|opening hours]
[Changes|Update] to [our office hours|the travel policy|the leave policy]
""", """
[Starting|From|Beginning] {date}, we will [use a new form for travel expenses|change our opening hours|introduce a new badge system|offer flexible working hours].
This is a [friendly |quick |short |]reminder [that|about the deadline:] [expense reports|time sheets|travel forms] [are due|must be submitted] {deadline}.
[All employees|All staff|All managers] [are required|are asked|need] to complete the [safety|security|data protection] training {deadline}.
We have [updated|changed|simplified] the policy on [travel|expenses|remote work|visitors] [to {benefit}|after many of you asked for it|].
The [annual|next] [fire drill|safety check|training day] will take place {when}.
""", """
The new [rules apply|policy applies|form applies] to [all employees|everyone who travels for work|all requests made after {date}].
[You can|Everyone can] [find|read|download] [the full policy|the form|more information] [on the staff page|in the shared folder|in the employee handbook].
[Please|Remember to] [attach|keep|scan] all receipts and [enter the amounts in the form|note the purpose of the trip|ask your manager for approval].
[Reports|Requests|Forms] that [arrive late|are incomplete|are not signed] [will be returned|cannot be paid this month|will be processed next month].
The training [takes|lasts] [about|only] {num} minutes and can be [done online|completed at your desk|taken in small groups] [at any time|].
[Please make sure that|It is important that|Make sure] [all visitors sign in|you know where the exits are|nobody enters without a badge|the doors are locked in the evening] and [wear a badge|follow the signs|tell your team].
We made this change because [the old process took too long|many people found the form confusing|the costs have gone up|we want to {benefit}].
If you [do not follow|have trouble with] the new [process|rules], [talk to your manager|please ask {team} for help|payments may be delayed].
Managers should [remind their teams|approve requests within {span}|make sure that everyone has time for the training].
[Part-time staff|New employees|Contractors] [should|must|can] [do the same|take the training in their first month|contact {team}].
""", """
Please [complete the training|send in your forms|read the new policy|tell your team] {deadline}.
If you have questions [about the new policy|about the form|], please [contact {team}|talk to your manager|send an email to {first2}].
Please [sign up|register] for one of the sessions {deadline}.
Let us know if [you need help|anything is unclear|you cannot attend].
""")

TOPICS["thanks"] = topic("""
Thank you
[Well done|Congratulations|Great work]
[Thank you for your help|A big thank you]
""", """
[On behalf of|Speaking for] [the whole team|our department|everyone here|the management team], I [would like to|want to] thank [you|{first2}|{team}] for [the excellent work on {project1}|your help with {project1}|your support over the past {span}|ten years of hard work].
[Congratulations|Well done] on [finishing {project1}|your new position|the successful presentation|reaching your sales goal]!
I [just |]wanted to [say thank you|thank you|let you know how much we appreciate your work] [for staying late {past}|for helping out at such short notice|after a busy few weeks].
It was a [pleasure|great pleasure] to [meet you at the conference|have you as our guest|work with you on {project1}] [{past}|].
""", """
[The customer|Our client|{firm1}] was [very |]happy with [the result|your presentation|the quick response], and [so were we|they plan to order again|they told us so twice].
Without [your help|your effort|your patience], we would not have [finished on time|won the contract|found the problem so quickly].
Your [ideas|experience|support|good mood] made [a big difference|the project easier for all of us|the event a success].
I [hope|am sure] that we will [have the chance to work together again|stay in touch|meet again soon|continue to work well together].
To celebrate, we will [have lunch together|meet for coffee and cake] {when} in {place}.
I learned a lot [from you|about your company|about {project2}] and [enjoyed our conversation|will share it with my team|would like to hear more].
We [know|realize] that [the last few weeks were not easy|you worked many extra hours|the deadline was tight].
[Many|Several] [customers|colleagues|guests] [have told me|wrote to us] that they were [impressed|very pleased] with [your work|the service|the event].
Please [pass on|share] our thanks [to your team|to everyone involved|with {first3}].
""", """
[Please join us|I hope you can join us] {when}.
Let us [stay in touch|meet again {when}|have lunch {when}].
I [hope|would be glad if] we can [talk about the next project soon|do this again next year].
""")

TOPICS["event"] = topic("""
[Invitation|Invitation to our] [summer party|workshop|open day|training day|conference]
[Workshop|Training] {when}
[Registration|Your place] for the [workshop|conference|training]
""", """
We [would like|are pleased] to invite you to our [annual conference|open day|customer event|workshop on {project1}] {when} in {place}.
You are [invited|welcome] to [join|attend] [a workshop on {project1}|our training day|the opening of our new office] {when}.
Thank you for [registering|signing up] for the [workshop|conference|training] {when}.
The [workshop|conference|training day] [planned for {date}|on {date}|] [has been postponed|will take place as planned|is fully booked].
I am organizing [a small party|a team lunch|a farewell for {first2}] {when} and [hope you can come|need your help].
""", """
The [day|event|program] [starts|begins] at {time} with [coffee|a short welcome|a talk by {first2} {last2}] and [ends|finishes] at {time}.
There will be [talks|short presentations|hands-on sessions] on [customer service|project planning|safety at work|new products], followed by [lunch|a discussion|time for questions].
[Lunch|Coffee and lunch|Parking] will be provided [free of charge|for all guests|].
[The number of places is limited|There are only {num} places], so please [register early|sign up {deadline}|tell us if you cannot come].
You can [reach us|get there] by [bus|train|car], and [parking is available behind the building|we can pick you up at the station|the office is a short walk away].
The [aim|goal] of the [workshop|day] is to [learn from each other|present our new products|{benefit}|get to know the other teams].
Please bring [a laptop|your questions|an example from your own work|warm clothes] [and be ready to take part|].
We expect [about|around|more than] {num} [guests|participants|people] from [our partners|different departments|several cities].
After the event, we will [send you the slides|ask for your feedback|share the photos|send a short summary].
[The fee is {money} and includes lunch and all materials|Taking part is free of charge].
""", """
Please [reply|register|let me know] {deadline} [whether you will attend|so that we can plan the food|].
Do you have any [special needs|dietary needs|suggestions for topics]?
Could you [give a short talk|help with the setup|bring the projector|welcome the guests]?
Please [forward|pass on] this invitation to [your colleagues|anyone who may be interested].
""")

TOPICS["purchase"] = topic("""
[New|Order of] {item1}
[Supplier|Price] comparison
Request for a quote
[Approval|Request] for {item1}
""", """
We need {num} [new |]{item1} for {team} [because the old ones are worn out|before the end of the month|as soon as possible|].
I [compared|have compared] [three suppliers|the offers|the prices] for {item1} and [found large differences|would recommend {firm1}|made a short list].
[Could|Can] you [send us|prepare|give us] a quote for {num} {item1}?
I am [asking|writing to ask] for approval to [buy|order] {num} {item1}.
After [comparing the three offers|talking to several suppliers], [we believe|I think] that {firm1} [is the best choice|offers the best value|is our best option] because [the price is lower|they can deliver {when}|the quality is better|the service is included].
""", """
{firm1} [offers|charges|asks for] {money}, while {firm2} [wants|charges] {money} [but includes delivery|and needs {span} to deliver|for the same quality].
The [cheapest|best] offer [comes|came] from {firm2}, [but the delivery takes {span}|and the quality is good|although the warranty is shorter].
To [reduce costs|save money] [without affecting quality|], we [recommend|could] [order larger amounts|use one supplier for all offices|repair the old ones|compare prices once a year].
The total [cost|price] would be {money}, which is [within|slightly over|well below] our budget.
[They|The supplier] [can deliver|promised to deliver] [within {span}|{when}|all items at once].
The [warranty|guarantee] covers [two years|parts and labor|everything except damage by the user].
We have [used|bought from] {firm1} [before|for many years], and [there were no problems|the service has always been good|some deliveries were late].
[Before|Before we] [ordering|place the order], we [should|need to] [check the stock|ask {team} how many they need|test a sample|get approval from {first2}].
The {item1} [should|must] [meet our safety rules|be easy to clean|fit in {place}|work with our current system].
If we [order|buy] [more than {num}|before {date}], we [get|receive] a discount of {percent}.
""", """
Please [approve the order|tell me which option you prefer|check whether the budget allows it] {deadline}.
Could you [ask for a better price|check the delivery time|send me two samples]?
Do you [agree|see any problems with this]?
May I [go ahead with the order|place the order {when}]?
""")

TOPICS["appointment"] = topic("""
Your appointment [on {date}|{when}|]
[Confirmation|Change|Reminder]: [appointment|visit|installation]
[Visit|Installation] {when}
""", """
We are [pleased|happy] to confirm your appointment [on {day}|{when}] [at {time}|in the morning|].
This is a reminder of your appointment with {first2} {last2} {when}.
I would like to [make|change|cancel] an appointment [with {title2} {last2} |]{when}.
Our technician will [visit you|come to your office|install the {item1}] {when}.
Thank you for [booking|making] an appointment with us.
""", """
Please [arrive|come] {num} minutes early [so that we can check your details|and bring your customer card|to fill in the forms].
[If you cannot come|If you need to change the time|If this time does not suit you], please [call us|let us know|cancel] at least [one day|two days|24 hours] in advance.
The [visit|appointment|installation] will take [about|around] [an hour|{num} minutes|two hours] and [is free of charge|you do not need to prepare anything|someone should be there to open the door].
You will find us [on the second floor|next to the train station|at the main entrance], and [parking is available in front of the building|the reception will show you the way].
Please bring [your contract|the last invoice|a list of questions|proof of address] [with you|] and [look forward to seeing you|ask for {first3} at the reception].
[The next free appointment is|We could also offer you an appointment] {when} [or {when}|].
[The technician|Our colleague] will [check the connection|replace the old parts|explain how everything works|test all devices] and [answer your questions|show you how to use it].
""", """
Please [confirm|let us know] [whether this suits you|that you will be there].
Could you [tell me|let me know] [if you have a free time in the afternoon|what I should bring|how long it will take]?
We look forward to [your visit|seeing you {when}].
""")

TOPICS["question"] = topic("""
[Quick question|Question] about {project1}
[Request for information|Information needed|Help with {project1}]
{project1}
""", """
[I have|I just have] [a quick|a short|one] question about {project1}.
[Could|Can] you [tell me|explain|send me some information on] [who is responsible for {project1}|how the new system works|where I can find the {doc1}|what the next steps are]?
I am [working on|preparing] the {doc1} and [need|am missing] [some figures|your help|the numbers for {quarter}].
I [heard|was told|read] that [the deadline has changed|we are getting a new system|{project1} starts {when}] and [wanted to ask|was wondering] [what this means for us|whether it is true|if there is a plan].
[Do you know|Could you find out] whether {first2} has [already finished the {doc1}|spoken to {firm1}|received the documents]?
""", """
I [looked|searched] in [the shared folder|my files|the old reports], but [I could only find the old version|the file is missing|the numbers do not match].
[It would be enough|It would help me] to have [a rough estimate|the main figures|a list of names|last year's numbers].
I need [the information|your answer|this] [for the meeting {when}|for the report to the board|because a customer has asked for it].
{first2} said that you [know most about it|worked on something similar|may have the answer].
As far as I know, [the deadline is {date}|nothing has been decided|{team} is in charge of it|we only have one copy].
[To explain the background:|For context,] [the customer|{firm1}|our manager] [would like to know|has asked] how we [plan to {benefit}|calculate the price|protect their data].
The answer is [quite simple|not so easy]: [we ask {team} first|it depends on the order|every case is different|you only need to fill in the form].
In my opinion, we should [wait for the results|ask the customer first|start with the most important points|keep things simple].
We had the same [question|problem] last year, and [it took {span} to solve it|{team} found a good solution|we decided to change the form].
""", """
[Could|Can|Would] you [please |]send me [the file|the figures|the {doc1}|a short answer] {deadline}?
Could you let me know {deadline} whether [you can help|the numbers are correct|there have been any changes|we need approval|the date is still possible]?
Who [should I ask|is the right person to contact|can help me with this]?
If you are not the right person, please [forward this message|tell me who is].
""")

TOPICS["complaint"] = topic("""
Complaint about [our stay|the delivery|the service|your technician]
[Not satisfied|Disappointed] with {product}
[Re: |]your complaint of {date}
""", """
I am [writing|contacting you] to complain about [the service we received {past}|the quality of the {item1}|the way my call was handled|a delivery that never arrived].
We were [disappointed|surprised|unhappy] to find that {issue}.
I understand [your frustration|why you are upset|how annoying this must be|your concern about {project1}], and I am sorry [for the trouble|that we did not act sooner|for the experience you had].
Thank you for [being so open about|telling us about] the problems you had {past}.
""", """
[This is|It was] the [second|third] time that [this has happened|the driver came too late|we received the wrong {item1}|nobody answered the phone].
When I [called|contacted] your office, I was told [to wait another {span}|that nobody could help me|that somebody would call back, but nobody did|to send an email instead].
We have [always been|been] [happy|satisfied] with your [work|products|service] until now, [so I hope we can find a solution|which makes this even more surprising|and we would like to remain your customer].
As a result, we [lost a whole day of work|had to cancel a meeting|could not serve our own customers|had to buy the {item1} somewhere else].
I [expect|would like|am asking for] [a refund|a replacement|an explanation|a discount on the next order] [{deadline}|].
[This is not the standard|That is not the level of service] [we want to offer|you should expect from us|our customers are used to], and we [take it very seriously|have spoken to the people involved|are changing the way we work].
[As a small apology|To make up for it], we [would like to offer you|are sending you|have added] [a discount of {percent}|a free month of service|a voucher for {money}|free delivery on your next order].
I have [looked into|investigated] the matter and [found that|learned that] [the order was entered twice|two teams had different information|the message was never passed on|a new colleague had not been trained].
We have [since|now] [changed our process|trained the team|added a second check|replaced the supplier] so that [this does not happen again|mistakes are found earlier|customers get an answer within a day].
You [will hear|can expect to hear] from {first2}, [our service manager|who is looking after your case], [{when}|within {span}].
""", """
[How would you like us to|Would you prefer that we] [send a replacement|refund the price|try again]?
Please [reply|let me have your answer] {deadline}[, otherwise I will have to cancel the contract|].
I hope [you will give us another chance|we can put this right|this can be settled quickly].
Please [accept|once again accept] our apologies.
""")

TOPICS["travel"] = topic("""
[Travel|Trip] to [the conference|our branch office|the customer] in {month}
[Hotel|Flight|Train] [booking|reservation]
Visit [of|from] {firm1}
""", """
I am [planning|organizing|booking] the trip to [the conference|our southern branch|{firm1}] in {month}.
[Could|Can] you [please |]book [a hotel|a train ticket|a flight|a car] for {first2} [and me|] {when}?
We are [looking forward to|preparing for] the visit of {firm1} {when}.
Your [room|table|flight|seat] has been [booked|reserved] for {date}.
I [got back|returned] from [the trade fair|the customer visit|the conference] {past} and want to share [a few impressions|what I learned|the main results].
""", """
We [arrive|will arrive] {when} and [leave|return] {span} later.
The hotel is [close to the station|ten minutes from the office|quiet and not too expensive] and [costs {money} a night|includes breakfast|has a room where we can work].
[The train|The flight] leaves at {time}, so we should [meet at the station half an hour earlier|share a taxi|leave the office right after lunch].
Please keep [all receipts|the tickets], because [you will need them for the expense report|we can only pay costs that are documented|accounting asks for the originals].
Our guests would like to [see the warehouse|meet the management|taste the local food|talk about next year's plans], and [{first3} will show them around|we have planned a short tour|I have booked a table for {num}].
[Most|Many] visitors to our stand asked about [prices|delivery times|{product}|our service], and [about {num} left their card|three want a quote|we made several appointments].
The talks [were interesting|were worth the trip|covered a wide range of topics], [especially the one about customer service|although some were too long|and the slides will be online soon].
If the [flight|train] is [late|cancelled], [call the travel desk|take the next one|I will let you know].
Travel within the country [does not need approval|must be approved by your manager|should be booked at least {span} in advance].
[By car|By train], it takes [about two hours|half a day|less time than flying], and [we can work on the way|it is cheaper for three people|parking is included].
""", """
Please [send me|confirm] [the exact dates|your arrival time|how many people are coming] {deadline}.
Do you [prefer|need] [a window seat|a quiet room|a car|help with the booking]?
Let me know [if you want to come along|which hotel you prefer|if the dates change].
""")

TOPICS["marketing"] = topic("""
[Ideas|Plan|Results] for the [spring|summer|autumn|winter] campaign
[Newsletter|Website|Brochure] [text|draft|update]
[Launch|Introduction] of {product}
""", """
We are [preparing|planning|working on] [the next newsletter|a campaign for {product}|new pages for the website|a short film about our work].
The [campaign|newsletter|advertisement] [went out|was published|started] {past}, and [the first results are {goodadj}|we have already had {num} replies|orders went up by {percent}].
I have [a few|some] ideas [for|about] how to [reach new customers|present {product}|make the website clearer|get more people to sign up].
We are [happy|excited|proud] to [introduce|announce|present] [{product}|our new website|our partnership with {firm1}].
""", """
[Most of our customers|Many readers|Younger customers] [find us|read our messages|order] [on their phones|through friends|by searching the web], so we should [keep the text short|use larger pictures|ask for reviews|answer questions online].
The [headline|first sentence|picture] should [say what the reader gets|be simple and friendly|make people curious|show real work and not a stock photo].
The website [has|gets] about {num} visits a day, [but few people fill in the form|and most leave after the first page|which is {percent} more than last year].
We [tested|compared] two versions, and the [shorter|simpler|second] one [brought more replies|was easier to read|did better with new customers].
Customers [like|choose|stay with] us because [we answer quickly|our prices are fair|we keep our promises|they know whom to call].
[With the new service|From {month}], customers can [order online at any time|see their invoices in one place|choose the day of delivery|talk to the same person every time].
The text [is|was] [too long|full of jargon|well written], and I [suggest a few cuts|would replace technical words with simple ones|think it only needs a better title].
We have a budget of {money}, [of which|and] [half will go to printing|most is for online advertising|a small part is for photos].
The photos [should show our own team|must be approved by everyone in them|are ready], and [the layout|the logo] will be [finished {when}|checked by {first2}].
To [find out|learn] what customers think, we [will ask {num} of them|plan a short survey|call everyone who did not reply|read the comments from last year].
Our competitors [have lowered their prices|advertise a lot|do not offer this service|are slower to deliver], [which gives us an advantage|so we need a clear message|but quality still matters most].
""", """
Which [version|title|picture] do you like best?
Please [check the facts|look at the draft|send me your ideas] {deadline}.
[Could|Can] {first2} [write a short text|take some photos|translate the page] {deadline}?
What do you think [of this idea|about the design|we should change]?
""")

TOPICS["finance"] = topic("""
[Budget|Forecast|Figures] for {quarter1}
[Monthly|Quarterly] figures
[Savings|Costs|Spending] in {quarter1}
""", """
[Here are|Attached are|I am sending you] the [figures|numbers|results] for {quarter1}.
We are [preparing|finalizing|reviewing] the budget for [next year|{quarter1}] and need [your input|your figures|a list of planned purchases].
[Spending|Revenue|Profit] in {quarter1} was [higher|lower] than [expected|planned|last year], and [I would like to explain why|we need to understand the reasons].
The [board|management|committee] has [approved|reduced|increased] the budget for {project1}.
""", """
[Revenue|Income from services|The profit] [rose|fell] by {percent} to {money}, while [costs|expenses|salaries] [stayed the same|went up slightly|fell by {percent}].
[The largest item|The biggest cost] is [staff|rent|travel|materials], followed by [energy|transport|insurance|software].
We [spent|saved] {money} on [travel|printing|{item}|outside help], [mainly because fewer people traveled|as prices went down|which is more than we planned].
If we [leave out|do not count] the [one-time costs|office move|extra staff], [the result is close to the plan|we would have met our target|spending has hardly changed].
For next year, we [assume|expect|plan] [stable prices|growth of {percent}|slightly higher salaries|two new positions].
Every department [should|has to|was asked to] [save {percent}|send its plan {deadline}|explain any large changes|name one person to contact].
[Some|Three|Most] customers pay [late|only after a reminder|within a week], which [makes planning difficult|costs us interest|is better than last year].
The [difference|gap] between [the plan and the result|the two reports] comes from [a late invoice|exchange rates|an order that was moved to {month}|different ways of counting].
[A smaller office|Shared equipment|A longer contract] would [save about {money} a year|pay for itself in {span}|lower the risk].
The auditors [will visit us|have asked for documents|found no serious problems], [so please keep your files in order|and their report is due in {month}|but suggested clearer rules].
""", """
Please [check your part|confirm the numbers|explain the difference] {deadline}.
Can we [discuss|go through] the [figures|budget] {when}?
Could you [tell me|estimate] how much you [will need|can save] [next year|in {quarter}]?
""")

TOPICS["facilities"] = topic("""
[Office move|New desks|Parking|Heating|Kitchen]
[Repairs|Cleaning|Building work] {when}
Problem with the [heating|elevator|lights|door] [on the second floor|in the main office|]
""", """
The [heating|elevator|front door|coffee machine|air conditioning] [on the second floor|in the main office|] [is not working|has stopped working|makes a strange noise] [since {day}|again|].
We are [moving|going to move] to [our new office|the third floor|a larger building] {when}.
[Workers|Electricians|Painters|Cleaners] will be in the building {when}.
Please [keep|help us to keep] the [kitchen|meeting rooms|parking lot|entrance] [clean|free|tidy].
""", """
[It is|The room is] too [cold|hot|loud|dark] to work there, so [some of us have moved to {place}|I am working from home today|we opened the windows].
A technician [has been called|will come {when}|found a broken part] and [hopes to repair it {deadline}|has ordered a new one|turned off the power].
[There may be|We expect] some [noise|dust] [in the morning|until noon], [but the work should not take long|so please close your doors|and we ask for your patience].
Please [pack your things|clear your desk|label your boxes|empty the shelves] {deadline}, [and take personal items home|as the movers come early|because everything will be cleaned].
The new office has [more light|better meeting rooms|a quiet room for phone calls|a kitchen on every floor] and is [close to the station|easy to reach by bus|only ten minutes from here].
[Cars|Bicycles|Deliveries] [should|can|must] [use the back entrance|be left behind the building|wait until the gate is open].
[If you are the last to leave|When you leave], please [close the windows|switch off the lights|set the alarm|lock the door].
[Food|Cups|Papers] that [are|have been] left [in the kitchen|on the tables] will be [thrown away|removed] [on {day}|every evening].
Everyone will [get|have] [a new key|a new phone number|a locker], [and the old ones must be returned|which you can pick up at the front desk|starting {when}].
The rent [is lower|includes heating|will rise by {percent}], and the [contract|lease] runs [for five years|until {date}].
""", """
Could someone [have a look|take care of this|call the landlord] {deadline}?
Please [report|tell us about] any [problems|damage|lost items] [right away|{deadline}].
Who has [the key to {place}|time to help {when}|moved the projector]?
Please [be patient|use the stairs|work from home if you can] until [the work is finished|it is repaired|{day}].
""")

TOPICS["training"] = topic("""
[Training|Course|Online course] on [safety|the new system|customer service|writing]
[Materials|Slides] from the training
[Who wants to learn|Sign up for] {when}
""", """
We are offering [a course|a short training|two sessions] on [the new system|writing clear emails|talking to difficult customers|first aid|data protection] {when}.
Thank you for [taking part in|attending] the [training|course] {past}.
I would like to [take|attend|sign up for] the course on [project management|accounting|presentation skills|the new software].
[All|New] [employees|team members] must [complete|take] the [safety|security] [training|course] before [they start work|they use the machines|{date}|their first customer visit].
""", """
You will learn how to [plan your day|write short and clear messages|handle complaints|use the main functions|avoid common mistakes|share files safely].
No [special|previous] knowledge is [needed|required], and [beginners are welcome|you can ask questions at any time|everyone works at their own speed].
The [trainer|teacher], {first2} {last2}, has [many years of experience|worked in our industry|trained more than {num} groups] and [uses examples from daily work|leaves plenty of time for questions].
[Most|Nearly all] participants said that [the exercises were useful|they would use it right away|the pace was right|they wanted a second part].
After the course, you [receive a certificate|can practice online|should be able to do this on your own|will have a short test].
A [good|clear] email [has one topic|says what you want in the first line|is short|names a date], and it [tells the reader what to do next|is easy to answer|avoids long words].
When a customer is [angry|upset|unsure], it helps to [listen first|stay calm|repeat the problem in your own words|offer a clear next step] before you [explain anything|suggest a solution].
The [slides|exercises|recordings] are [in the shared folder|attached|on the staff page], so that [you can review them|people who were absent can catch up|new colleagues can use them].
I [think|believe] the course would help me to {benefit}, [and it fits my goals for this year|since I now lead a small team|because I will use the system every day].
The fee is {money}, [which our budget covers|including lunch|but there is a discount for groups].
""", """
Please [sign up|register|choose a session] {deadline}.
Could you [approve the fee|tell me whether there are free places|send me the materials]?
Do you [have any questions|need a certificate|want a follow-up session]?
Please [fill in|send back] the short [form|survey] {deadline} so that we can [improve the next course|plan the next session|order the certificates].
""")
RULES["paper_title"] = lines("""
[Introduction|Purpose|Summary|Overview|Background]
[Guide|Guidelines|Instructions]: [writing reports|planning a meeting|dealing with suppliers|answering the phone|keeping records]
[How we work|About this document|About our company|What we do|Our services]
[Terms of service|Quality policy|Business plan|Strategy] of {firm1}
""")
RULES["paper"] = lines("""
The purpose of this [document|guide|page|section] is to [describe|explain|set out] [how we plan and run projects|the rules for buying {item}|the duties of each team|the steps from order to delivery|what customers can expect from us].
It is [written|meant|intended] for [new employees|managers|suppliers|everyone who works with customers] and [should be read together with the contract|replaces the version of last year|will be reviewed once a year].
{firm1} is a [small|medium-sized|family-owned|growing] company that [makes|sells|rents out|repairs] {item} and [employs about {num} people|serves customers in the whole region|was founded by two engineers].
We believe that [good service begins with listening|clear rules save time|people do their best work when they are trusted|small improvements add up|honest advice pays in the long run].
Our customers are [mostly|mainly] [small businesses|schools and hospitals|private households|other companies], who [value|expect] [short delivery times|personal advice|fair prices|reliable quality].
A good meeting has [a clear goal|an agenda|a fixed end], [involves only the people who are needed|starts on time|leaves time for questions], and ends with [a list of actions|a decision|a short summary].
Every [order|request|complaint] is [entered in the system|checked by a second person|answered within {span}], so that [nothing is lost|the customer always knows what happens next|mistakes are found early].
Before [a project starts|the work begins], the [manager|team] [agrees on the goals|writes down the costs|names the people responsible|talks to those who will use the result].
[If|When] something goes wrong, [tell your manager|inform the customer|write down what happened] [first|at once], and then [look for the cause|fix the problem|decide how to avoid it in the future].
Records must be kept for [at least |]{num} years in a [safe|locked|dry] place, and [only authorized staff may read them|old files are destroyed safely|copies are not allowed].
[Over the next three years|In the coming year], we want to [open a second office|train more of our own people|offer more services online|use less energy|win customers in new markets].
The [biggest|greatest] [opportunity|challenge] [for us|in our market] is [the growing demand for repairs|finding skilled staff|rising prices|that customers compare offers online].
We will measure [success|progress] by [the number of returning customers|how long customers wait|the share of orders delivered on time|what our staff tell us].
[Suppliers|Contractors|Partners] are chosen for [quality, price and reliability|their experience|good working conditions], and [the choice is reviewed every two years|each order above {money} needs three offers|we pay them on time].
The [service|price|contract] [includes|covers] [regular checks|small repairs|advice by phone], [but not|while it does not include] [new parts|travel costs|work on weekends].
Either side may [end|change] the [agreement|contract] [in writing|with {num} days' notice|at the end of each year], [without giving a reason|unless otherwise agreed|if the other side does not keep its promises].
A report should [begin with the main result|be as short as possible|answer the reader's questions], because [few people read to the end|managers have little time|the details can go into an appendix].
Answer the phone [within three rings|with your name and the name of the company|in a friendly voice], [listen to the whole question|write down the name of the caller], and [promise only what you can keep|say when you will call back|thank the caller at the end].
[First|To begin with], [collect all the facts|make a list of the tasks|ask the people involved]; then [set priorities|estimate the costs|agree on a date]; [finally|at the end], [check the result|share what you learned|thank everyone who helped].
It is [better|usually best|often enough] to [ask one more question|send a short message|solve small problems right away|plan a little extra time] than to [guess|repair the damage later|wait until somebody complains|start all over again].
""")
